// Streams and events: the owners, and the view that every asynchronous function takes, last.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "gpu/check.hpp"

namespace shardproof::gpu {

// A borrowed stream. There is no default stream: neither 0 nor nullptr converts.
class StreamView {
public:
    explicit(false) StreamView(cudaStream_t raw) : raw_{raw} {}
    StreamView(int) = delete;
    StreamView(std::nullptr_t) = delete;
    [[nodiscard]] cudaStream_t raw() const { return raw_; }

private:
    cudaStream_t raw_;
};

template <class Handle, auto destroy>
struct Closer {
    using pointer = Handle;
    void operator()(Handle raw) const noexcept { report_if_failed(destroy(raw)); }
};

class Stream {
public:
    Stream();  // non-blocking with respect to the default stream, on the current device
    [[nodiscard]] StreamView view() const { return StreamView{handle_.get()}; }

private:
    std::unique_ptr<cudaStream_t, Closer<cudaStream_t, cudaStreamDestroy>> handle_;
};

enum class Timing : bool { off, on };
class Event {
public:
    explicit Event(Timing timing = Timing::off);
    void record(StreamView stream);
    // `stream` goes on when this event was reached.
    void hold(StreamView stream) const;
    [[nodiscard]] bool reached() const;  // never waits; throws CudaError
    [[nodiscard]] double milliseconds_since(const Event& earlier) const;  // both reached, both with timing
    [[nodiscard]] cudaEvent_t raw() const { return handle_.get(); }

private:
    std::unique_ptr<cudaEvent_t, Closer<cudaEvent_t, cudaEventDestroy>> handle_;
};

// Makes `device` current for this thread while it lives.
class DeviceScope {
public:
    explicit DeviceScope(int device);
    ~DeviceScope();
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;

private:
    int before_ = 0;
};

}  // namespace shardproof::gpu
