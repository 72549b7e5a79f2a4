// load() from a file of which every page that the plan does not name is inaccessible.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "sim/plan/test_tensors.hpp"

namespace shardproof {
namespace {

using testing::Bytes;
using testing::expected_shard;
using testing::file_of;
using testing::loaded;
using testing::Tensors;
using testing::tensors_of;

// A file whose pages can be closed after its header was read.
class GuardedSource : public ByteSource {
public:
    explicit GuardedSource(const Bytes& bytes) : size_{bytes.size()} {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        mapped_ = (size_ + page - 1) / page * page;
        void* const base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SP_ASSERT(base != MAP_FAILED);
        base_ = static_cast<std::byte*>(base);
        std::memcpy(base_, bytes.data(), size_);
    }
    ~GuardedSource() override { munmap(base_, mapped_); }
    [[nodiscard]] std::span<const std::byte> bytes() const override { return {base_, size_}; }
    [[nodiscard]] const std::string& name() const override { return name_; }
    // Only the pages that hold these byte ranges of the file stay readable. Returns how many were closed.
    std::size_t close_all_but(const Box& open) const {
        const auto page = static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
        std::size_t num_closed = 0;
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(mapped_); at += page) {
            bool needed = false;
            for (const Run& run : open) needed = needed || (run.begin < at + page && run.end > at);
            if (needed) continue;
            SP_ASSERT(mprotect(base_ + at, static_cast<std::size_t>(page), PROT_NONE) == 0);
            ++num_closed;
        }
        return num_closed;
    }

private:
    std::string name_ = "guarded.safetensors";
    std::byte* base_ = nullptr;
    std::size_t size_ = 0;
    std::size_t mapped_ = 0;
};

TEST(Load, TouchesNoPageThatItDidNotPlan) {
    const Parameter rows{"rows", Role::wq, 0, {64, 512}, {testing::whole_source("rows", {64, 512})}};
    const Parameter wide{"wide", Role::wo, 0, {8, 16384}, {testing::whole_source("wide", {8, 16384})}};
    const Tensors tensors = tensors_of({rows, wide}, DType::F32);
    const auto check = [&](const Parameter& parameter, const std::vector<IndexRuns>& index) {
        const auto source = std::make_shared<const GuardedSource>(file_of(tensors));
        const Checkpoint checkpoint = Checkpoint::from_sources({source});
        const LoadPlan plan = make_load_plan(parameter, DType::F32, index);
        Box open;
        for (const ByteRange& range : byte_ranges(plan)) {
            const auto begin = static_cast<std::int64_t>(checkpoint.items().at(range.tensor).entry->begin);
            open.push_back({begin + range.begin, begin + range.end});
        }
        EXPECT_GT(source->close_all_but(open), 20U);
        EXPECT_EQ(loaded(plan, checkpoint), expected_shard(parameter, tensors, DType::F32, index));
    };
    check(rows, {{{16, 32}}, {{0, 512}}});
    check(wide, {{{0, 8}}, {{4096, 6144}}});
}

}  // namespace
}  // namespace shardproof
