// The part of NCCL 2.32.3's window and device API that runs on the host, by the names of the library that is loaded.
// Only in builds that have that version's headers.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "gpu/dispatchers/windows.cuh"

namespace shardproof::gpu {

class WindowApi {
public:
    using Comm = void*;    // ncclComm_t
    using Window = void*;  // ncclWindow_t
    using Code = int;      // ncclResult_t
    // `symbol` finds a function of the library by name, or nullptr. Throws EnvironmentError naming what it lacks.
    explicit WindowApi(const std::function<void*(const char*)>& symbol);

    struct Reach {
        bool device_api = false;
        int num_memory_teams = 0;  // sets of ranks that load and store each other's memory
        int rank = 0;
        int num_ranks = 0;
    };
    [[nodiscard]] Reach reach_of(Comm comm) const;

    // On the current device. Throws EnvironmentError with the bytes needed and free.
    [[nodiscard]] std::byte* allocate(std::int64_t bytes) const;
    void free(std::byte* memory) const noexcept;

    // The calls of all local ranks go between these two; what they return is there when the communicators are ready,
    // and what they are given lives until then.
    void group_start() const;
    [[nodiscard]] Code group_end() const;
    [[nodiscard]] Code register_window(Comm comm, std::byte* memory, std::int64_t bytes, Window* window) const;
    [[nodiscard]] Code create_device_comm(Comm comm, int num_barriers, DeviceComm* device_comm) const;
    // For destructors: one line on standard error where it fails.
    void deregister_window(Comm comm, Window window) const noexcept;
    void destroy_device_comm(Comm comm, const DeviceComm& device_comm) const noexcept;
    // Throws EnvironmentError for anything but success and "in progress".
    void require(Code code, const std::string& what) const;

private:
    struct Functions;
    void report_if_failed(Code code, const char* what) const noexcept;
    std::shared_ptr<const Functions> functions_;
};

}  // namespace shardproof::gpu
