// LostPages: survives the pages of a mapped file that the kernel cannot give any more, and knows where they began.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace shardproof {

// While it lives, a read of a page of `mapping` that raises SIGBUS (the file ends before it, the disk fails) finds
// zeros there and to the end of the mapping. SIGBUS elsewhere does what it did before.
class LostPages {
public:
    explicit LostPages(std::span<const std::byte> mapping);
    ~LostPages() { stop(); }
    LostPages(const LostPages&) = delete;
    LostPages& operator=(const LostPages&) = delete;
    // To be called before the mapping goes.
    void stop();
    // The offset in the mapping of the first read that failed; nullopt: none did.
    [[nodiscard]] std::optional<std::uint64_t> lost() const;

private:
    struct Range;
    struct Handler;
    Range* range_;
};

}  // namespace shardproof
