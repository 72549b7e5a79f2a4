#include "gpu/dispatchers/windows_api.hpp"

#ifdef SHARDPROOF_HAS_NCCL_DEVICE
#include <nccl.h>
#include <nccl_device.h>

#include <cstdio>
#include <cstring>
#include <new>

static_assert(NCCL_VERSION_CODE == 23203,
              "another NCCL's headers came first in the include path than the pinned 2.32.3");

namespace shardproof::gpu {

struct WindowApi::Functions {
    decltype(&ncclCommQueryProperties) query_properties = nullptr;
    decltype(&ncclMemAlloc) mem_alloc = nullptr;
    decltype(&ncclMemFree) mem_free = nullptr;
    decltype(&ncclGroupStart) group_start = nullptr;
    decltype(&ncclGroupEnd) group_end = nullptr;
    decltype(&ncclCommWindowRegister) window_register = nullptr;
    decltype(&ncclCommWindowDeregister) window_deregister = nullptr;
    decltype(&ncclDevCommCreate) dev_comm_create = nullptr;
    decltype(&ncclDevCommDestroy) dev_comm_destroy = nullptr;
    decltype(&ncclGetErrorString) error_string = nullptr;
};

namespace {

template <class Function>
void find(const std::function<void*(const char*)>& symbol, const char* name, Function& function) {
    function = reinterpret_cast<Function>(symbol(name));
    if (function == nullptr) {
        throw EnvironmentError{std::string{"dispatcher windows: the NCCL library lacks "} + name,
                               "use the library of nvidia-nccl-cu13 2.32.3, or --dispatcher send-receive"};
    }
}

ncclComm_t comm_of(WindowApi::Comm comm) { return static_cast<ncclComm_t>(comm); }

}  // namespace

WindowApi::WindowApi(const std::function<void*(const char*)>& symbol) {
    Functions f;
    find(symbol, "ncclCommQueryProperties", f.query_properties);
    find(symbol, "ncclMemAlloc", f.mem_alloc);
    find(symbol, "ncclMemFree", f.mem_free);
    find(symbol, "ncclGroupStart", f.group_start);
    find(symbol, "ncclGroupEnd", f.group_end);
    find(symbol, "ncclCommWindowRegister", f.window_register);
    find(symbol, "ncclCommWindowDeregister", f.window_deregister);
    find(symbol, "ncclDevCommCreate", f.dev_comm_create);
    find(symbol, "ncclDevCommDestroy", f.dev_comm_destroy);
    find(symbol, "ncclGetErrorString", f.error_string);
    functions_ = std::make_shared<const Functions>(f);
}

WindowApi::Reach WindowApi::reach_of(Comm comm) const {
    // The initialiser names the first three members only; the library fills the others.
    ncclCommProperties_t properties{};
    properties.size = sizeof(properties);
    properties.magic = NCCL_API_MAGIC;
    properties.version = NCCL_VERSION_CODE;
    require(functions_->query_properties(comm_of(comm), &properties), "ncclCommQueryProperties");
    return {.device_api = properties.deviceApiSupport,
            .num_memory_teams = properties.nLsaTeams,
            .rank = properties.rank,
            .num_ranks = properties.nRanks};
}

std::byte* WindowApi::allocate(std::int64_t bytes) const {
    std::size_t bytes_free = 0;
    std::size_t bytes_total = 0;
    check(cudaMemGetInfo(&bytes_free, &bytes_total));
    void* memory = nullptr;
    const bool has_room = static_cast<std::size_t>(bytes) <= bytes_free;
    if (has_room && functions_->mem_alloc(&memory, static_cast<std::size_t>(bytes)) == ncclSuccess) {
        return static_cast<std::byte*>(memory);
    }
    static_cast<void>(cudaGetLastError());
    throw EnvironmentError{"device memory for a window: " + std::to_string(bytes) + " bytes needed, " +
                               std::to_string(bytes_free) + " free",
                           "use fewer tokens or ranks a GPU"};
}

void WindowApi::free(std::byte* memory) const noexcept {
    report_if_failed(functions_->mem_free(memory), "ncclMemFree");
}

void WindowApi::group_start() const { require(functions_->group_start(), "ncclGroupStart"); }
WindowApi::Code WindowApi::group_end() const { return functions_->group_end(); }

WindowApi::Code WindowApi::register_window(Comm comm, std::byte* memory, std::int64_t bytes, Window* window) const {
    static_assert(sizeof(Window) == sizeof(ncclWindow_t));
    return functions_->window_register(comm_of(comm), memory, static_cast<std::size_t>(bytes),
                                       reinterpret_cast<ncclWindow_t*>(window), NCCL_WIN_COLL_SYMMETRIC);
}

WindowApi::Code WindowApi::create_device_comm(Comm comm, int num_barriers, DeviceComm* device_comm) const {
    static_assert(sizeof(ncclDevComm) <= sizeof(DeviceComm));
    ncclDevCommRequirements_t requirements = NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER;
    requirements.lsaBarrierCount = num_barriers;
    return functions_->dev_comm_create(comm_of(comm), &requirements, new (device_comm->bytes) ncclDevComm{});
}

void WindowApi::deregister_window(Comm comm, Window window) const noexcept {
    report_if_failed(functions_->window_deregister(comm_of(comm), static_cast<ncclWindow_t>(window)),
                     "ncclCommWindowDeregister");
}

void WindowApi::destroy_device_comm(Comm comm, const DeviceComm& device_comm) const noexcept {
    ncclDevComm copy;
    std::memcpy(&copy, device_comm.bytes, sizeof(copy));
    report_if_failed(functions_->dev_comm_destroy(comm_of(comm), &copy), "ncclDevCommDestroy");
}

void WindowApi::require(Code code, const std::string& what) const {
    if (code == ncclSuccess || code == ncclInProgress) return;
    throw EnvironmentError{
        "dispatcher windows: " + what + " answered " + functions_->error_string(static_cast<ncclResult_t>(code)),
        "NCCL_DEBUG=WARN says more"};
}

void WindowApi::report_if_failed(Code code, const char* what) const noexcept {
    if (code == ncclSuccess || code == ncclInProgress) return;
    std::fprintf(stderr, "shardproof: %s answered %s\n", what,
                 functions_->error_string(static_cast<ncclResult_t>(code)));
}

}  // namespace shardproof::gpu
#endif
