#include "gpu/buffer.hpp"

#include <fmt/format.h>

#include <atomic>

#include "gpu/kept_blocks.hpp"

namespace shardproof::gpu {
namespace {

[[noreturn]] void out_of_memory(std::int64_t bytes) {
    (void)cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total));
    throw EnvironmentError{fmt::format("not enough device memory: {} bytes needed, {} free of {}", bytes, free, total),
                           "free the device, take fewer tokens or more devices"};
}

// nullptr where there is no room.
void* allocated(std::int64_t bytes) {
    void* raw = nullptr;
    const cudaError_t code = cudaMalloc(&raw, static_cast<std::size_t>(bytes));
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return nullptr;
    }
    check(code);
    return raw;
}

std::atomic<std::int64_t> in_use{0};

}  // namespace

std::int64_t DeviceBytes::bytes_in_use() { return in_use; }

void DeviceFree::operator()(std::byte* raw) const noexcept {
    in_use -= size;
    if (!keep_freed_block(raw, block, device)) report_if_failed(cudaFree(raw));
}

DeviceBytes::DeviceBytes(std::int64_t bytes) : size_{bytes} {
    SP_ASSERT(bytes >= 0);
    if (bytes == 0) return;
    int device = 0;
    check(cudaGetDevice(&device));
    std::int64_t block = block_bytes(bytes);
    void* raw = take_kept_block(block, device);
    if (raw == nullptr) raw = allocated(block);
    if (raw == nullptr) {
        free_kept_blocks();
        block = bytes;  // without what it is rounded up by
        raw = allocated(block);
    }
    if (raw == nullptr) out_of_memory(bytes);
    handle_ = std::unique_ptr<std::byte, DeviceFree>{static_cast<std::byte*>(raw), DeviceFree{bytes, block, device}};
    in_use += bytes;
}

void DeviceBytes::reserve(std::int64_t bytes) {
    if (bytes <= size_) return;
    handle_.reset();  // first: the device may not have room for both
    size_ = 0;
    *this = DeviceBytes{bytes};
}

void DeviceBytes::poison(StreamView stream) {
    if (size_ > 0) check(cudaMemsetAsync(handle_.get(), 0xFF, static_cast<std::size_t>(size_), stream.raw()));
}

PinnedBytes::PinnedBytes(std::int64_t bytes) : size_{bytes} {
    SP_ASSERT(bytes >= 0);
    if (bytes == 0) return;
    void* raw = nullptr;
    const cudaError_t code = cudaMallocHost(&raw, static_cast<std::size_t>(bytes));
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        throw EnvironmentError{fmt::format("the host cannot page-lock {} bytes", bytes),
                               "free host memory, or raise the limit of locked memory"};
    }
    check(code);
    handle_.reset(static_cast<std::byte*>(raw));
}

void PinnedBytes::reserve(std::int64_t bytes) {
    if (bytes <= size_) return;
    handle_.reset();
    size_ = 0;
    *this = PinnedBytes{bytes};
}

void upload(std::span<const std::byte> from, void* to, StreamView stream) {
    if (!from.empty()) check(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, stream.raw()));
}

void download(const void* from, std::span<std::byte> to, StreamView stream) {
    if (!to.empty()) check(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream.raw()));
}

}  // namespace shardproof::gpu
