#include "gpu/kept_blocks.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/transport/bounded.hpp"

namespace shardproof::gpu {
namespace {

constexpr std::int64_t kSmallest = 512;
constexpr std::int64_t kLargest = std::int64_t{16} << 20;
constexpr std::int64_t kAll = std::int64_t{1} << 30;

struct Key {
    int device;
    std::int64_t bytes;
    auto operator<=>(const Key&) const = default;
};

struct Kept {
    std::mutex mutex;
    int keepers = 0;
    std::int64_t bytes = 0;
    std::map<Key, std::vector<void*>> idle;    // nothing uses them
    std::map<Key, std::vector<void*>> freed;   // something on the device may still
};

Kept& kept() {
    static Kept blocks;
    return blocks;
}

std::int64_t rounded(std::int64_t bytes) {
    return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(bytes, kSmallest))));
}

// A device that a stuck call keeps busy gets fresh memory, for as long as there is some.
bool idle_soon(int device) {
    constexpr double kSeconds = 1;
    auto answer = std::make_shared<std::atomic<cudaError_t>>(cudaErrorNotReady);
    const bool ended = ends_within(kSeconds, [device, answer] {
        const cudaError_t chosen = cudaSetDevice(device);
        *answer = chosen == cudaSuccess ? cudaDeviceSynchronize() : chosen;
    });
    if (!ended) return false;
    check(*answer);
    return true;
}

void free_all(std::map<Key, std::vector<void*>>& blocks) noexcept {
    for (auto& [key, list] : blocks) {
        for (void* block : list) report_if_failed(cudaFree(block));
    }
    blocks.clear();
}

}  // namespace

KeepFreed::KeepFreed() {
    const std::scoped_lock lock{kept().mutex};
    ++kept().keepers;
}

KeepFreed::~KeepFreed() {
    {
        const std::scoped_lock lock{kept().mutex};
        if (--kept().keepers > 0) return;
    }
    free_kept_blocks();
}

std::int64_t block_bytes(std::int64_t bytes) {
    const std::scoped_lock lock{kept().mutex};
    return kept().keepers > 0 && bytes <= kLargest ? rounded(bytes) : bytes;
}

void* take_kept_block(std::int64_t block_bytes, int device) {
    Kept& blocks = kept();
    const std::scoped_lock lock{blocks.mutex};
    if (blocks.keepers == 0 || block_bytes > kLargest) return nullptr;
    const Key key{device, block_bytes};
    if (blocks.idle[key].empty() && !blocks.freed[key].empty()) {
        // Once for all blocks of this device that were freed since.
        if (!idle_soon(device)) return nullptr;
        for (auto& [other, list] : blocks.freed) {
            if (other.device != key.device) continue;
            std::vector<void*>& to = blocks.idle[other];
            to.insert(to.end(), list.begin(), list.end());
            list.clear();
        }
    }
    std::vector<void*>& list = blocks.idle[key];
    if (list.empty()) return nullptr;
    void* block = list.back();
    list.pop_back();
    blocks.bytes -= key.bytes;
    return block;
}

bool keep_freed_block(void* block, std::int64_t block_bytes, int device) noexcept {
    try {
        Kept& blocks = kept();
        const std::scoped_lock lock{blocks.mutex};
        const bool fits_again = block_bytes <= kLargest && block_bytes == rounded(block_bytes);
        if (blocks.keepers == 0 || !fits_again || blocks.bytes + block_bytes > kAll) return false;
        blocks.freed[{device, block_bytes}].push_back(block);
        blocks.bytes += block_bytes;
        return true;
    } catch (const std::exception&) {
        return false;
    }
}

void free_kept_blocks() noexcept {
    const std::scoped_lock lock{kept().mutex};
    free_all(kept().idle);
    free_all(kept().freed);
    kept().bytes = 0;
}

}  // namespace shardproof::gpu
