#ifdef SHARDPROOF_HAS_GPU
#include "props/device_judge.hpp"

#include "oracle/model/error.hpp"
#include "oracle/transformer.hpp"
#include "sim/memory.hpp"

namespace shardproof::props {
namespace {

// Where the device's numbers first differ from the pure function's.
template <class Device, class Pure>
std::optional<Mismatch> first_difference(const std::string& layer, Rank rank, const Device& got, const Pure& want,
                                         const std::string& what) {
    if (got.size() != want.size()) {
        return exact_mismatch(layer, rank, {}, static_cast<double>(got.size()), static_cast<double>(want.size()),
                              "dispatch plan: number of " + what + " differs");
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (got[i] == want[i]) continue;
        return exact_mismatch(layer, rank, {static_cast<std::int64_t>(i)}, static_cast<double>(got[i]),
                              static_cast<double>(want[i]), "dispatch plan: " + what + " differs");
    }
    return std::nullopt;
}

}  // namespace

std::optional<Mismatch> judge_dispatch(const std::string& layer, const gpu::MoeRank& rank, const ExpertMap& experts,
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
std::optional<Mismatch> judge_arrival(const std::string& layer, const gpu::MoeRank& rank,
                                      std::span<const gpu::MoeRank> all, const ExpertMap& experts, const Plan& plan) {
    const std::vector<Rank> group = plan.meshes.sparse.group(rank.rank, Axis::ep);
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
std::optional<Mismatch> judge_load_of(const Model& model, const Plan& judged, gpu::DeviceWorld& world, const Plan& plan,
                                      std::span<const gpu::MoeRank> mine) {
    for (const std::size_t p : world.held_params()) {
        const Tensor whole = oracle::whole_parameter(model.config, model.checkpoint, plan.params[p].parameter.name);
        for (const gpu::MoeRank& rank : mine) {
            const std::vector<std::byte> held = world.held(rank.rank, p);
            const Shape shape = local_shape(shard_of(plan, p, rank.rank));
            if (auto mismatch = judge_load(judged, p, rank.rank, whole, held, shape)) return mismatch;
        }
    }
    return std::nullopt;
}

std::int64_t elements_unwritten(const Checkpoint& checkpoint, const Plan& plan, std::span<const std::size_t> params,
                                const sim::Faults* faults) {
    sim::LoadReport report;
    for (const std::size_t p : params) {
        for (std::int64_t r = 0; r < plan.world(); ++r)
            (void)sim::load_param(plan, checkpoint, p, Rank{r}, faults, report);
    }
    return report.poison_left;
}

std::optional<Mismatch> judge_carried(const std::string& layer, const gpu::MoeRank& rank, std::int64_t times) {
    SP_ASSERT(rank.output.values.size() == rank.hidden.values.size());
    for (std::size_t i = 0; i < rank.output.values.size(); ++i) {
        const float want = rank.hidden.values[i] * static_cast<float>(times);
        if (rank.output.values[i] == want) continue;
        const auto at = static_cast<std::int64_t>(i);
        return exact_mismatch(layer, rank.rank, {at / rank.output.cols, at % rank.output.cols}, rank.output.values[i],
                              want, "an integer payload came back changed");
    }
    return std::nullopt;
}

}  // namespace shardproof::props
#endif
