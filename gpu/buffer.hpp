// Device and pinned host memory, owned. Sizes in elements unless the name says bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "gpu/stream.hpp"

namespace shardproof::gpu {

// Frees and counts.
struct DeviceFree {
    using pointer = std::byte*;
    std::int64_t size = 0;   // as it was asked for
    std::int64_t block = 0;  // as it was allocated
    int device = 0;
    void operator()(std::byte* raw) const noexcept;
};

// Untyped device memory of the device that was current when it was made. Never shrinks.
class DeviceBytes {
public:
    DeviceBytes() = default;
    // Throws EnvironmentError with bytes needed and free where the device has no room.
    explicit DeviceBytes(std::int64_t bytes);
    [[nodiscard]] std::byte* data() const { return handle_.get(); }
    [[nodiscard]] std::int64_t size() const { return size_; }
    // At least `bytes`, contents lost when it grows; every stream that uses it is done.
    void reserve(std::int64_t bytes);
    // 0xFF everywhere: NaN in BF16, F16 and F32, -1 in integers.
    void poison(StreamView stream);
    // Of all that is alive in this process.
    [[nodiscard]] static std::int64_t bytes_in_use();

private:
    std::unique_ptr<std::byte, DeviceFree> handle_;
    std::int64_t size_ = 0;
};

// While one lives, freed device blocks of up to 16 MiB are kept for whoever asks next, 1 GiB in all: worlds are made
// and dropped by the thousand, and cudaMalloc and cudaFree are dear. A block is handed out again only after its device
// has been idle. The last one to go frees what is kept.
class KeepFreed {
public:
    KeepFreed();
    ~KeepFreed();
    KeepFreed(const KeepFreed&) = delete;
    KeepFreed& operator=(const KeepFreed&) = delete;
};

template <class T>
class DeviceArray {
public:
    DeviceArray() = default;
    explicit DeviceArray(std::int64_t count) : bytes_{count * static_cast<std::int64_t>(sizeof(T))}, count_{count} {}
    [[nodiscard]] T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
    [[nodiscard]] std::int64_t size() const { return count_; }
    void reserve(std::int64_t count) {
        bytes_.reserve(count * static_cast<std::int64_t>(sizeof(T)));
        if (count > count_) count_ = count;
    }
    void poison(StreamView stream) { bytes_.poison(stream); }

private:
    DeviceBytes bytes_;
    std::int64_t count_ = 0;
};

// Page-locked host memory, for copies that run beside the host.
class PinnedBytes {
public:
    PinnedBytes() = default;
    explicit PinnedBytes(std::int64_t bytes);
    [[nodiscard]] std::span<std::byte> bytes() const { return {handle_.get(), static_cast<std::size_t>(size_)}; }
    void reserve(std::int64_t bytes);

private:
    std::unique_ptr<std::byte, Closer<std::byte*, cudaFreeHost>> handle_;
    std::int64_t size_ = 0;
};

// Asynchronous copies; host memory that is not pinned makes them synchronous with the host, never wrong.
void upload(std::span<const std::byte> from, void* to, StreamView stream);
void download(const void* from, std::span<std::byte> to, StreamView stream);

}  // namespace shardproof::gpu
