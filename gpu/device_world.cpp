#include "gpu/device_world.hpp"

#include <algorithm>
#include <map>

#include "gpu/dispatch_faults.hpp"
#include "gpu/kernels/elementwise.cuh"
#include "gpu/moe_layer.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

// The kernels keep a token's scores in the registers of one warp, and a group's counts in shared memory.
void require_few_experts(std::int64_t num_experts) {
    constexpr std::int64_t kMost = 4096;
    if (num_experts <= kMost) return;
    throw InputError{{"config.json", "num_experts", std::to_string(num_experts),
                      "must be at most " + std::to_string(kMost) + " for devices to route to"}};
}

// This process's ranks that the plan has.
std::vector<LocalRank> ranks_of(const Plan& plan, const Session& session) {
    std::vector<LocalRank> ranks;
    for (const LocalRank& local : session.local_ranks()) {
        if (local.rank.value() < plan.world()) ranks.push_back(local);
    }
    return ranks;
}

const DispatcherRow& fitting_dispatcher(const std::string& name, const Transport& transport) {
    const DispatcherRow& row = dispatcher_named(name);
    if (const auto why = row.why_not(transport)) {
        throw InputError{{"command line", "--dispatcher", name, *why}};
    }
    return row;
}

template <class T>
std::vector<T> downloaded(const DeviceArray<T>& from, std::int64_t count, StreamView stream) {
    std::vector<T> to(static_cast<std::size_t>(count));
    download(from.data(), std::as_writable_bytes(std::span{to}), stream);
    return to;
}

}  // namespace

struct DeviceWorld::Impl {
    Impl(const Plan& p, const Checkpoint& c, Session& session, const WorldOptions& o)
        : plan{p},
          checkpoint{c},
          options{o},
          ranks{ranks_of(p, session)},
          ledger{session.transport(), ranks, o.deadline_s, o.faults},
          layer{p,
                session.transport(),
                ledger,
                ranks,
                fitting_dispatcher(o.dispatcher, session.transport()),
                o.grouped_gemm,
                o.arithmetic} {
        layer.carries_only = o.carries_only;
        layer.faults = o.plan_faults;
    }
    void put(const MoeRank& rank, RankWork& work) const;
    void get(MoeRank& rank, RankWork& work, const RankDispatch& part) const;

    const Plan& plan;
    const Checkpoint& checkpoint;
    WorldOptions options;
    std::vector<LocalRank> ranks;
    Ledger ledger;
    MoeLayer layer;
    std::map<int, Staging> staging;  // of each device
    std::int64_t loaded = -1;
    std::int64_t host_waits = 0;
};

DeviceWorld::DeviceWorld(const Plan& plan, const Checkpoint& checkpoint, Session& session,
                         const WorldOptions& options) {
    require_runnable(plan.dims);
    require_few_experts(plan.config.router.num_experts);
    impl_ = std::make_unique<Impl>(plan, checkpoint, session, options);
}
DeviceWorld::~DeviceWorld() = default;

DeviceLoadReport DeviceWorld::load(std::int64_t layer) {
    SP_ASSERT(impl_->plan.config.is_moe(layer));
    DeviceLoadReport report;
    for (std::size_t i = 0; i < impl_->ranks.size(); ++i) {
        const DeviceScope scope{impl_->ranks[i].device};
        Staging& staging = impl_->staging.try_emplace(impl_->ranks[i].device, impl_->options.deadline_s).first->second;
        const DeviceLoadReport one = impl_->layer.work(i).weights.load(
            impl_->plan, impl_->checkpoint, layer, impl_->ranks[i], staging, impl_->options.plan_faults);
        report.bytes_planned += one.bytes_planned;
        report.bytes_read += one.bytes_read;
    }
    impl_->ledger.wait();
    impl_->loaded = layer;
    return report;
}

std::vector<std::byte> DeviceWorld::held(Rank rank, std::size_t param_idx) {
    for (std::size_t i = 0; i < impl_->ranks.size(); ++i) {
        if (impl_->ranks[i].rank != rank) continue;
        const DeviceScope scope{impl_->ranks[i].device};
        const DeviceParam* param = impl_->layer.work(i).weights.find(param_idx);
        SP_ASSERT(param != nullptr);
        std::vector<std::byte> bytes(static_cast<std::size_t>(param->bytes.size()));
        download(param->bytes.data(), bytes, impl_->ranks[i].stream);
        impl_->ledger.wait();
        return bytes;
    }
    SP_ASSERT(!"not a rank of this process");
    return {};
}

std::vector<std::size_t> DeviceWorld::held_params() const {
    if (impl_->ranks.empty()) return {};
    const auto held = impl_->layer.work(0).weights.held_params();
    return {held.begin(), held.end()};
}

void DeviceWorld::Impl::put(const MoeRank& rank, RankWork& work) const {
    const DeviceScope scope{work.local.device};
    upload(std::as_bytes(std::span{rank.hidden.values}), work.upload.data(), work.local.stream);
    convert(work.upload.data(), DType::F32, work.hidden.data(), options.arithmetic,
            static_cast<std::int64_t>(rank.hidden.values.size()), work.local.stream);
}

void DeviceWorld::Impl::get(MoeRank& rank, RankWork& work, const RankDispatch& part) const {
    const DeviceScope scope{work.local.device};
    const StreamView stream = work.local.stream;
    const std::int64_t k = plan.config.router.top_k;
    const std::int64_t values = work.num_rows * plan.config.hidden_size;
    convert(work.output.data(), options.arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16, work.upload.data(),
            Arithmetic::f32, values, stream);
    rank.output = {.cols = plan.config.hidden_size, .values = std::vector<float>(static_cast<std::size_t>(values))};
    download(work.upload.data(), std::as_writable_bytes(std::span{rank.output.values}), stream);

    const auto ids = downloaded(work.ids, work.num_routed * k, stream);
    const auto weights = downloaded(work.routing_weights, work.num_routed * k, stream);
    rank.dispatched = work.dispatched;
    rank.dispatch = read_dispatch(work, layer.experts(), k);
    rank.expert_begin.resize(static_cast<std::size_t>(work.weights.of(Role::expert_w1).shape[0] + 1));
    download(part.expert_begin, std::as_writable_bytes(std::span{rank.expert_begin}), stream);
    check(cudaStreamSynchronize(stream.raw()));  // the work was waited for: these copies are all that is left

    rank.expert_ids.clear();
    for (std::int64_t i = work.mine.begin * k; i < work.mine.end * k; ++i)
        rank.expert_ids.emplace_back(ids[static_cast<std::size_t>(i)]);
    rank.expert_weights.assign(weights.begin() + work.mine.begin * k, weights.begin() + work.mine.end * k);
    rank.dispatched_ids.clear();
    for (std::int64_t i = work.dispatched.begin * k; i < work.dispatched.end * k; ++i)
        rank.dispatched_ids.emplace_back(ids[static_cast<std::size_t>(i)]);
}

void DeviceWorld::moe_layer(std::span<MoeRank> ranks, std::span<const std::int64_t> rows_of_rank) {
    SP_ASSERT(impl_->loaded >= 0 && ranks.size() == impl_->ranks.size());
    impl_->layer.prepare(impl_->loaded, rows_of_rank);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        SP_ASSERT(ranks[i].rank == impl_->ranks[i].rank);
        impl_->put(ranks[i], impl_->layer.work(i));
    }
    impl_->layer.gather_weights();
    const std::int64_t waits_before = impl_->ledger.num_waits();
    impl_->layer.run();
    impl_->host_waits = impl_->ledger.num_waits() - waits_before;
    impl_->ledger.wait();
    for (std::size_t i = 0; i < ranks.size(); ++i) impl_->get(ranks[i], impl_->layer.work(i), impl_->layer.parts()[i]);
}

std::int64_t DeviceWorld::host_waits() const { return impl_->host_waits; }

}  // namespace shardproof::gpu
