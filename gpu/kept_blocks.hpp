// Device blocks that were freed and wait to be taken again, while a KeepFreed lives. Of no use by itself: see
// buffer.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace shardproof::gpu {

// What is really allocated for so many bytes: while blocks are kept a power of two, so that they fit again.
[[nodiscard]] std::int64_t block_bytes(std::int64_t bytes);
// A block of that size, which nothing on the device uses any more; or nullptr. `device` is the current one.
[[nodiscard]] void* take_kept_block(std::int64_t block_bytes, int device);
// False: not kept, the caller frees it. Never throws.
[[nodiscard]] bool keep_freed_block(void* block, std::int64_t block_bytes, int device) noexcept;
void free_kept_blocks() noexcept;

}  // namespace shardproof::gpu
