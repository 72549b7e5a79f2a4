#include "props/device_check.hpp"

#include <algorithm>

#include "gpu/device_world.hpp"
#include "gpu/memory_needed.hpp"
#include "oracle/model/error.hpp"
#include "oracle/transformer.hpp"
#include "props/device_exchange.hpp"
#include "props/device_faults.hpp"
#include "sim/forward.hpp"
#include "sim/prng.hpp"

namespace shardproof {
namespace {

using gpu::DeviceWorld;
using gpu::MoeRank;

Mismatch failed(std::string layer, Rank rank, std::vector<std::int64_t> coordinate, double got, double want,
                std::string why) {
    return {.layer = std::move(layer),
            .rank = rank,
            .coordinate = std::move(coordinate),
            .got = got,
            .want = want,
            .bound = 0,
            .why = std::move(why)};
}

// Where the device's numbers first differ from the pure function's.
template <class Device, class Pure>
std::optional<Mismatch> first_difference(const std::string& layer, Rank rank, const Device& got, const Pure& want,
                                         const std::string& what) {
    if (got.size() != want.size()) {
        return failed(layer, rank, {}, static_cast<double>(got.size()), static_cast<double>(want.size()),
                      "dispatch plan: number of " + what + " differs");
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (got[i] == want[i]) continue;
        return failed(layer, rank, {static_cast<std::int64_t>(i)}, static_cast<double>(got[i]),
                      static_cast<double>(want[i]), "dispatch plan: " + what + " differs");
    }
    return std::nullopt;
}

std::optional<Mismatch> judge_dispatch(const std::string& layer, const MoeRank& rank, const ExpertMap& experts,
                                       std::int64_t top_k) {
    const DispatchPlan want = plan_dispatch(experts, rank.dispatched_ids, top_k);
    const DispatchPlan& got = rank.dispatch;
    if (auto bad = first_difference(layer, rank.rank, got.rows_to_peer, want.rows_to_peer, "rows to a peer"))
        return bad;
    if (auto bad = first_difference(layer, rank.rank, got.rows_to_expert, want.rows_to_expert, "rows to an expert"))
        return bad;
    if (auto bad = first_difference(layer, rank.rank, got.slot_token, want.slot_token, "a slot's token")) return bad;
    if (auto bad = first_difference(layer, rank.rank, got.slot_choice, want.slot_choice, "a slot's choice")) return bad;
    return first_difference(layer, rank.rank, got.slot_of, want.slot_of, "a choice's slot");
}

// Rows that arrived for each of a rank's experts, against what its group sent.
std::optional<Mismatch> judge_arrival(const std::string& layer, const MoeRank& rank, std::span<const MoeRank> all,
                                      const ExpertMap& experts, const Plan& plan) {
    const std::vector<Rank> group =
        plan.dims.ep() == 1 ? std::vector<Rank>{rank.rank} : plan.meshes.sparse.group(rank.rank, Axis::ep);
    std::size_t me = 0;
    while (group[me] != rank.rank) ++me;
    std::vector<std::int64_t> begin{0};
    for (const ExpertId expert : experts.held[me]) {
        std::int64_t rows = begin.back();
        for (const Rank member : group) rows += all[member.idx()].dispatch.rows_to_expert[expert.idx()];
        begin.push_back(rows);
    }
    return first_difference(layer, rank.rank, rank.expert_begin, begin, "first row of an expert");
}

// What this process's ranks loaded, parameter by parameter.
std::optional<Mismatch> judge_load_of(const Model& model, const Plan& judged, DeviceWorld& world, const Plan& plan,
                                      std::span<const MoeRank> mine) {
    for (const std::size_t p : world.held_params()) {
        const Tensor whole = oracle::whole_parameter(model.config, model.checkpoint, plan.params[p].parameter.name);
        for (const MoeRank& rank : mine) {
            const std::vector<std::byte> held = world.held(rank.rank, p);
            const Shape shape = local_shape(shard_of(plan, p, rank.rank));
            if (auto mismatch = judge_load(judged, p, rank.rank, whole, held, shape)) return mismatch;
        }
    }
    return std::nullopt;
}

// This process's ranks, with the rows that the virtual ranks recorded.
std::vector<MoeRank> inputs_of(const StageRecord& stage, const gpu::Session& session) {
    std::vector<MoeRank> mine;
    for (const gpu::LocalRank& local : session.local_ranks()) {
        if (local.rank.idx() >= stage.ranks.size()) continue;
        MoeRank& rank = mine.emplace_back();
        rank.rank = local.rank;
        rank.hidden = stage.ranks[local.rank.idx()].hidden;
    }
    return mine;
}

std::vector<std::int64_t> rows_of(const StageRecord& stage) {
    std::vector<std::int64_t> rows;
    for (const RankRecord& record : stage.ranks) rows.push_back(static_cast<std::int64_t>(record.tokens.size()));
    return rows;
}

// The same before anything ran.
std::vector<std::int64_t> rows_of_ranks(const Plan& plan, const Batch& batch) {
    std::vector<std::int64_t> rows;
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        const sim::RankState state = sim::make_rank_state(plan, batch, Rank{r});
        const bool slice = plan.dims.sequence_parallel() && plan.dims.tp() > 1;
        rows.push_back(slice ? state.slice.size() : static_cast<std::int64_t>(state.tokens.size()));
    }
    return rows;
}

void substitute(StageRecord& stage, const std::vector<MoeRank>& ranks) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
        stage.ranks[r].expert_ids = ranks[r].expert_ids;
        stage.ranks[r].expert_weights = ranks[r].expert_weights;
        stage.ranks[r].output = ranks[r].output;
    }
}

}  // namespace

struct Devices::Impl {
    gpu::Session session;
    std::int64_t step = 0;  // counts what processes told each other

    // One layer of this process's ranks; all ranks' outcome.
    props::LayerShare run_layer(DeviceWorld& world, const Model& model, const Plan& judged, const Plan& plan,
                                const StageRecord& stage, double deadline_s) {
        props::LayerShare share{.ranks = inputs_of(stage, session), .load_failure = {}};
        const gpu::DeviceLoadReport loaded = world.load(stage.layer);
        share.bytes_planned = loaded.bytes_planned;
        share.bytes_read = loaded.bytes_read;
        share.load_failure = judge_load_of(model, judged, world, plan, share.ranks);
        world.moe_layer(share.ranks, rows_of(stage));
        return props::exchange(std::move(share), session.store(), session.processes(), step++, deadline_s);
    }
    [[nodiscard]] static gpu::WorldOptions world_options(const DeviceCheckOptions& options,
                                                         const props::DeviceFaultSet& faults) {
        return {.arithmetic = options.arithmetic,
                .dispatcher = options.dispatcher,
                .grouped_gemm = options.grouped_gemm,
                .deadline_s = options.deadline_s,
                .faults = faults.calls ? &*faults.calls : nullptr,
                .plan_faults = faults.plans ? &*faults.plans : nullptr};
    }
};

Devices::Devices(const DevicesOptions& options)
    : impl_{new Impl{
          gpu::Session{{.transport = options.transport, .world = options.world, .deadline_s = options.deadline_s},
                       gpu::find_processes()}}} {}
Devices::~Devices() = default;
std::string Devices::describe() const { return impl_->session.describe(); }
bool Devices::is_first_process() const { return impl_->session.processes().rank == 0; }

CheckReport Devices::check(const Model& model, const Plan& plan, const Batch& batch,
                           const DeviceCheckOptions& options) {
    const Plan& judged = options.judged_plan == nullptr ? plan : *options.judged_plan;
    sim::Forward forward{judged,
                         model.checkpoint,
                         batch,
                         {.arithmetic = options.arithmetic, .seed = options.seed, .faults = nullptr, .trace = nullptr}};
    const props::DeviceFaultSet faults = props::device_faults(options.faults);
    DeviceWorld world{plan, model.checkpoint, impl_->session, Impl::world_options(options, faults)};
    const oracle::Judge judge{model.config, model.checkpoint, batch, options.arithmetic};
    CheckReport report;
    gpu::require_device_memory(plan, impl_->session, rows_of_ranks(plan, batch), options.arithmetic);
    std::int64_t done = 0;
    while (!forward.done()) {
        sim::StageOutcome stage = forward.next();
        SP_ASSERT(!stage.stall);
        if (options.progress) options.progress(++done, forward.num_stages());
        if (stage.record.kind != StageKind::layer || !plan.config.is_moe(stage.record.layer)) continue;
        const std::string name = name_of(StageKind::layer, stage.record.layer);
        props::LayerShare share;
        try {
            share = impl_->run_layer(world, model, judged, plan, stage.record, options.deadline_s);
        } catch (const gpu::StallError& stalled) {
            props::report_stall(stalled.stall(), name + ".moe", report);
            return report;
        }
        report.load.bytes_planned += share.bytes_planned;
        report.load.bytes_read += share.bytes_read;
        if (share.load_failure) report.load_ok = false;
        if (!report.failure) report.failure = std::move(share.load_failure);
        substitute(stage.record, share.ranks);
        report.verdict.layers.push_back(judge.judge_mlp(stage.record));
        if (!report.failure) report.failure = report.verdict.layers.back().failure;
        const ExpertMap experts = expert_map(judged, stage.record.layer);
        for (const MoeRank& rank : share.ranks) {
            if (!report.failure)
                report.failure = judge_dispatch(name + ".moe", rank, experts, plan.config.router.top_k);
            if (!report.failure) report.failure = judge_arrival(name + ".moe", rank, share.ranks, experts, judged);
        }
    }
    return report;
}

std::optional<Mismatch> Devices::check_carrying(const Model& model, const Plan& plan, const Batch& batch,
                                                const DeviceCheckOptions& options, std::uint64_t payload_seed) {
    std::int64_t layer = 0;
    while (layer < plan.config.num_layers && !plan.config.is_moe(layer)) ++layer;
    if (layer == plan.config.num_layers) return std::nullopt;
    const props::DeviceFaultSet faults = props::device_faults(options.faults);
    gpu::WorldOptions world_options = Impl::world_options(options, faults);
    world_options.carries_only = true;
    DeviceWorld world{plan, model.checkpoint, impl_->session, world_options};
    world.load(layer);

    // Each row comes back times + 1 times: K copies, and where tp ranks add up partial sums as many from each of them.
    const std::int64_t times = plan.config.router.top_k * (plan.dims.ep() == 1 ? plan.dims.tp() : 1);
    constexpr std::int64_t kExactMax = 256;  // integers that bf16 holds
    const std::int64_t largest = std::max<std::int64_t>(kExactMax / (times + 1), 1);
    std::vector<MoeRank> ranks;
    std::vector<std::int64_t> rows_of_rank;
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        // The ranks of a tp group hold the same rows, or with sequence parallelism their slices of them.
        const sim::RankState state = sim::make_rank_state(plan, batch, Rank{r});
        const std::int64_t dp_idx = plan.meshes.data.coordinate(Rank{r}, Axis::batch);
        sim::Prng prng{payload_seed * 1000003 + static_cast<std::uint64_t>(dp_idx)};
        Rows rows{.cols = plan.config.hidden_size, .values = {}};
        for (std::size_t i = 0; i < state.tokens.size() * static_cast<std::size_t>(plan.config.hidden_size); ++i) {
            const auto drawn = static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(2 * largest + 1)));
            rows.values.push_back(static_cast<float>(drawn - largest));
        }
        if (plan.dims.sequence_parallel() && plan.dims.tp() > 1) {
            rows.values = {rows.values.begin() + state.slice.begin * rows.cols,
                           rows.values.begin() + state.slice.end * rows.cols};
        }
        rows_of_rank.push_back(rows.rows());
        const auto local = impl_->session.local_ranks();
        if (std::ranges::none_of(local, [r](const gpu::LocalRank& l) { return l.rank == Rank{r}; })) continue;
        MoeRank& rank = ranks.emplace_back();
        rank.rank = Rank{r};
        rank.hidden = std::move(rows);
    }
    world.moe_layer(ranks, rows_of_rank);
    for (const MoeRank& rank : ranks) {
        SP_ASSERT(rank.output.values.size() == rank.hidden.values.size());
        for (std::size_t i = 0; i < rank.output.values.size(); ++i) {
            const float want = rank.hidden.values[i] * static_cast<float>(times + 1);
            if (rank.output.values[i] == want) continue;
            const auto at = static_cast<std::int64_t>(i);
            return failed(name_of(StageKind::layer, layer) + ".moe", rank.rank,
                          {at / rank.output.cols, at % rank.output.cols}, rank.output.values[i], want,
                          "an integer payload came back changed");
        }
    }
    return std::nullopt;
}

}  // namespace shardproof
