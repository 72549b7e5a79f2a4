#include "gpu/session.hpp"

#include <algorithm>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/check.hpp"
#include "gpu/transport/store.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {

struct Session::Impl {
    KeepFreed keep_freed;  // first: all that follows may hold device memory
    Processes processes;
    Machine machine;
    std::unique_ptr<Store> store;
    std::vector<Stream> streams;
    std::vector<LocalRank> ranks;
    std::unique_ptr<Transport> transport;
    std::string why_not_nccl;
};

namespace {

// What does not go with the launcher is bad input, whatever the machine has.
void require_processes_for(const SessionOptions& options, const Processes& processes) {
    if (processes.world == 1) return;
    const std::string launched = std::to_string(processes.world) + " were launched by " + processes.launcher;
    if (options.transport == "loopback") {
        throw InputError{
            {"command line", "--transport", options.transport, "runs the ranks of one process, and " + launched}};
    }
    if (options.world == processes.world) return;
    throw InputError{{"command line", "layout", std::to_string(options.world),
                      "must have as many ranks as there are processes: " + launched}};
}

// One process runs all ranks, dealt in order over `num_devices` devices; or each process its own, on the device of its
// place on the node.
void add_ranks(Session::Impl& impl, std::int64_t world, std::int64_t num_devices) {
    const Processes& processes = impl.processes;
    const bool all_here = processes.world == 1;
    const std::int64_t first = all_here ? 0 : processes.rank;
    const std::int64_t last = all_here ? world : processes.rank + 1;
    impl.ranks.clear();
    impl.streams.clear();
    for (std::int64_t r = first; r < last; ++r) {
        const std::int64_t device =
            all_here ? r * std::min(num_devices, world) / world : processes.local_rank % num_devices;
        const int ordinal = impl.machine.devices[static_cast<std::size_t>(device)].ordinal;
        const DeviceScope scope{ordinal};
        impl.streams.emplace_back();
        impl.ranks.push_back({.rank = Rank{r}, .device = ordinal, .stream = impl.streams.back().view()});
    }
}

void make_transport(Session::Impl& impl, const SessionOptions& options) {
    const auto make = [&](std::string_view name, std::int64_t num_devices) {
        add_ranks(impl, options.world, num_devices);
        impl.transport = transport_named(name).make({.local_ranks = impl.ranks,
                                                     .world = options.world,
                                                     .deadline_s = options.deadline_s,
                                                     .store = impl.store.get()});
    };
    const auto all_devices = static_cast<std::int64_t>(impl.machine.devices.size());
    const bool all_here = impl.processes.world == 1;
    // Device copies are between ranks of one device.
    if (options.transport == "loopback") return make("loopback", 1);
    if (options.transport != "auto") return make(options.transport, all_devices);
    if (options.world == 1) return make("loopback", 1);
    try {
        make("nccl", all_devices);
    } catch (const CudaError&) {
        throw;  // the devices are at fault, not NCCL
    } catch (const EnvironmentError& error) {
        if (!all_here) throw;
        impl.why_not_nccl = error.what();
        make("loopback", 1);
    }
}

}  // namespace

Session::Session(const SessionOptions& options, const Processes& processes) : impl_{std::make_unique<Impl>()} {
    impl_->processes = processes;
    require_processes_for(options, processes);
    impl_->machine = find_machine();
    require_device(impl_->machine);
    if (processes.world > 1) impl_->store = std::make_unique<Store>(processes, options.deadline_s);
    make_transport(*impl_, options);
}
Session::~Session() = default;

Transport& Session::transport() { return *impl_->transport; }
const Machine& Session::machine() const { return impl_->machine; }
std::span<const LocalRank> Session::local_ranks() const { return impl_->ranks; }
const Processes& Session::processes() const { return impl_->processes; }
std::string_view Session::why_not_nccl() const { return impl_->why_not_nccl; }
Store* Session::store() { return impl_->store.get(); }
std::int64_t Session::processes_on(int device) const {
    const Processes& processes = impl_->processes;
    const auto num_devices = static_cast<std::int64_t>(impl_->machine.devices.size());
    if (processes.world == 1) return 1;
    std::int64_t count = 0;
    for (std::int64_t place = 0; place < processes.local_world; ++place)
        count += impl_->machine.devices[static_cast<std::size_t>(place % num_devices)].ordinal == device ? 1 : 0;
    return std::max<std::int64_t>(count, 1);
}
std::string Session::describe() const {
    const DeviceInfo& first = impl_->machine.devices.front();
    const std::string text = first.name + ", " + impl_->transport->describe();
    return impl_->why_not_nccl.empty() ? text : text + " (not NCCL: " + impl_->why_not_nccl + ")";
}

}  // namespace shardproof::gpu
