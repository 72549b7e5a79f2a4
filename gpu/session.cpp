#include "gpu/session.hpp"

#include <algorithm>
#include <vector>

#include "gpu/buffer.hpp"
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
};

namespace {

// One process runs all ranks, dealt in order over the devices; or each process its own, on the device of its place on
// the node.
void add_ranks(Session::Impl& impl, const SessionOptions& options, const Processes& processes) {
    const auto num_devices = static_cast<std::int64_t>(impl.machine.devices.size());
    const bool all_here = processes.world == 1;
    const std::int64_t first = all_here ? 0 : processes.rank;
    const std::int64_t last = all_here ? options.world : processes.rank + 1;
    for (std::int64_t r = first; r < last; ++r) {
        const std::int64_t device =
            all_here ? r * std::min(num_devices, options.world) / options.world : processes.local_rank % num_devices;
        const int ordinal = impl.machine.devices[static_cast<std::size_t>(device)].ordinal;
        const DeviceScope scope{ordinal};
        impl.streams.emplace_back();
        impl.ranks.push_back({.rank = Rank{r}, .device = ordinal, .stream = impl.streams.back().view()});
    }
}

std::unique_ptr<Transport> make_transport(const SessionOptions& options, const TransportOptions& wanted) {
    if (options.transport != "auto") return transport_named(options.transport).make(wanted);
    const bool all_here = static_cast<std::int64_t>(wanted.local_ranks.size()) == wanted.world;
    if (wanted.world == 1) return transport_named("loopback").make(wanted);
    try {
        return transport_named("nccl").make(wanted);
    } catch (const EnvironmentError&) {
        const bool one_device = std::ranges::all_of(
            wanted.local_ranks, [&](const LocalRank& r) { return r.device == wanted.local_ranks.front().device; });
        if (!all_here || !one_device) throw;
        return transport_named("loopback").make(wanted);
    }
}

}  // namespace

Session::Session(const SessionOptions& options, const Processes& processes) : impl_{std::make_unique<Impl>()} {
    impl_->processes = processes;
    impl_->machine = find_machine();
    require_device(impl_->machine);
    if (processes.world > 1) {
        if (options.world != processes.world) {
            throw InputError{{"command line", "layout", std::to_string(options.world),
                              "must have as many ranks as processes were launched (" + std::to_string(processes.world) +
                                  " by " + processes.launcher + ")"}};
        }
        impl_->store = std::make_unique<Store>(processes, options.deadline_s);
    }
    add_ranks(*impl_, options, processes);
    impl_->transport = make_transport(options, {.local_ranks = impl_->ranks,
                                                .world = options.world,
                                                .deadline_s = options.deadline_s,
                                                .store = impl_->store.get()});
}
Session::~Session() = default;

Transport& Session::transport() { return *impl_->transport; }
const Machine& Session::machine() const { return impl_->machine; }
std::span<const LocalRank> Session::local_ranks() const { return impl_->ranks; }
const Processes& Session::processes() const { return impl_->processes; }
Store* Session::store() { return impl_->store.get(); }
std::string Session::describe() const {
    const DeviceInfo& first = impl_->machine.devices.front();
    return first.name + ", " + impl_->transport->describe();
}

}  // namespace shardproof::gpu
