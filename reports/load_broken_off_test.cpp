// What stands on the disk when load is killed, or the disk is full: nothing that looks whole, and a second run ends
// right.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    return names;
}

std::vector<std::string> leftovers_in(const fs::path& folder) {
    std::vector<std::string> found;
    for (const std::string& name : names_in(folder)) {
        if (name.find(".tmp") != std::string::npos) found.push_back(name);
    }
    return found;
}

constexpr int kMany = 256;
std::vector<std::string> load_into(const std::string& folder) {
    return {"load",       kDemo, "--rules", "titan-train", "--dp-replicate", "32",
            "--dp-shard", "4",   "--tp",    "2",           "--out",          folder};
}

// Runs load in a process of its own and kills it when `is_time` says so; false: it was faster.
template <class IsTime>
bool killed_when(const std::string& folder, const IsTime& is_time) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(run_command_line(load_into(folder)).code);
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
        if (is_time()) ::kill(child, SIGKILL);
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    return WIFSIGNALED(status);
}

bool any_rank_file_below(const fs::path& folder) {
    std::error_code error;
    for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        if (entry->path().filename().string().find("rank_") != std::string::npos) return true;
    }
    return false;
}

TEST(LoadBrokenOff, KilledLeavesNoFolderAndRunsAgain) {
    const TemporaryFolder folder;
    const std::string out = folder / "out";
    const fs::path parent = fs::path{out}.parent_path();
    ASSERT_TRUE(killed_when(out, [&] { return any_rank_file_below(parent); })) << "too fast to be killed";
    EXPECT_FALSE(fs::exists(out));
    EXPECT_EQ(leftovers_in(parent).size(), 1U);
    const Printed again = run_command_line(load_into(out));
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_THAT(leftovers_in(parent), IsEmpty());
    EXPECT_THAT(leftovers_in(out), IsEmpty());
    EXPECT_TRUE(fs::exists(fs::path{out} / "manifest.json"));
    EXPECT_EQ(run_command_line({"load", kDemo, "--rules", "titan-train", "--dp-replicate", "32", "--dp-shard", "4",
                                "--tp", "2", "--against", out + "/manifest.json"})
                  .code,
              0);
}

// Into a folder that is there already: no manifest until all is there, and what was half written goes with the next
// run.
TEST(LoadBrokenOff, KilledInAFolderThatIsThereLeavesNoManifest) {
    const TemporaryFolder folder;
    const std::string out = folder / "out";
    fs::create_directory(out);
    ASSERT_TRUE(killed_when(out, [&] { return any_rank_file_below(out); })) << "too fast to be killed";
    EXPECT_FALSE(fs::exists(fs::path{out} / "manifest.json"));
    const Printed again = run_command_line(load_into(out));
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_THAT(leftovers_in(out), IsEmpty());
    EXPECT_GE(names_in(out).size(), kMany + 1U);
}

// In a mount namespace of its own, on a disk with room for the tensors and not for the headers: the wish for space is
// granted, and then the disk is full.
TEST(LoadBrokenOff, AFullDiskIsSaidAndLeavesNothing) {
    const TemporaryFolder folder;
    const std::string disk = folder / "disk";
    fs::create_directory(disk);
    const std::string told = folder / "told";
    constexpr int kNotAllowed = 77;
    const pid_t child = ::fork();
    if (child == 0) {
        if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1360k") != 0)
            ::_exit(kNotAllowed);
        const Printed printed =
            run_command_line({"load", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "8", "--out", disk + "/out"});
        write_text(told, printed.err + (fs::is_empty(disk) ? "empty" : "not empty"));
        ::_exit(printed.code);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kNotAllowed) GTEST_SKIP() << "this process may not mount";
    EXPECT_EQ(WEXITSTATUS(status), 3);
    EXPECT_THAT(text_of(told), HasSubstr("No space left on device"));
    EXPECT_THAT(text_of(told), HasSubstr(": free space on that disk"));
    EXPECT_TRUE(text_of(told).ends_with("\nempty")) << text_of(told);
}

// A checkpoint that shrinks while a load of it runs, for real: exit 2 with file and offset, and nothing written.
TEST(LoadBrokenOff, ACheckpointCutShortIsRefusedByFileAndOffset) {
    const TemporaryFolder folder;
    const std::string model = folder / "model";
    fs::copy(kDemo, model);
    const std::string shard = model + "/model-00002-of-00002.safetensors";
    const std::string out = folder / "out";
    const std::string told = folder / "told";
    const pid_t child = ::fork();
    if (child == 0) {
        std::vector<std::string> words = load_into(out);
        words[1] = model;
        const Printed printed = run_command_line(words);
        write_text(told, printed.err);
        ::_exit(printed.code);
    }
    while (!any_rank_file_below(folder / "") && ::waitpid(child, nullptr, WNOHANG) == 0)
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    ASSERT_EQ(::truncate(shard.c_str(), 4096), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 2);
    EXPECT_THAT(text_of(told),
                HasSubstr("model-00002-of-00002.safetensors: was cut short while it was read: bytes from "
                          "offset 4096 on are gone"));
    EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace shardproof::reports
