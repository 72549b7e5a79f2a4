#include "reports/memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "oracle/model/error.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

// A machine's /proc and /sys under a folder.
class Machine {
public:
    explicit Machine(const std::string& cgroup) {
        put("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n");
        put("proc/self/cgroup", cgroup);
    }
    void put(const std::string& file, const std::string& text) {
        std::filesystem::create_directories(std::filesystem::path{folder_ / file}.parent_path());
        write_text(folder_ / file, text);
    }
    [[nodiscard]] MemoryFound found() const { return available_memory(folder_ / "."); }

private:
    TemporaryFolder folder_;
};

TEST(Memory, IsWhatTheKernelCallsAvailable) {
    const MemoryFound found = Machine("").found();
    EXPECT_EQ(found.bytes, 3000U * 1024);
    EXPECT_EQ(found.limit, "free memory");
}

TEST(Memory, IsLimitedByACgroupAboveTheProcess) {
    Machine machine("0::/jobs/one\n");
    machine.put("sys/fs/cgroup/jobs/one/memory.max", "max\n");
    machine.put("sys/fs/cgroup/jobs/one/memory.current", "100000\n");
    machine.put("sys/fs/cgroup/jobs/memory.max", "500000\n");
    machine.put("sys/fs/cgroup/jobs/memory.current", "200000\n");
    machine.put("sys/fs/cgroup/jobs/memory.stat", "anon 1\ninactive_file 50000\n");
    EXPECT_EQ(machine.found().bytes, 350000U);  // caches that can be dropped count as free
    EXPECT_EQ(machine.found().limit, "the cgroup's limit");
}

TEST(Memory, IsLimitedByAnOldCgroupOfAContainer) {
    Machine machine("5:cpu,memory:/host/path\n");
    machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
    machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n");
    EXPECT_EQ(machine.found().bytes, 200000U);
}

TEST(Memory, ThatWillNotSufficeIsRefusedWithBytesNeededAndFound) {
    EXPECT_NO_THROW(require_memory(1000, "a run", "--layers N", {1000, "free memory"}));
    EXPECT_THAT([] { require_memory(1001, "a run", "--layers N", {1000, "free memory"}); },
                testing::ThrowsMessage<EnvironmentError>(testing::AllOf(
                    testing::HasSubstr("a run needs 1001 bytes"), testing::HasSubstr("leaves 1000 bytes"),
                    testing::HasSubstr("use a machine with more, or --layers N"))));
}

}  // namespace
}  // namespace shardproof::reports
