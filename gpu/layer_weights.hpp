// LayerWeights: a rank's MoE parameters of one layer as the kernels want them: FSDP gathered, joined, in the
// arithmetic's element.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "gpu/groups.hpp"
#include "gpu/ledger.hpp"
#include "gpu/rank_memory.hpp"
#include "oracle/model/family.hpp"
#include "oracle/model/result.hpp"
#include "sim/plan/gather_plan.hpp"

namespace shardproof::gpu {

// The roles that an MoE layer needs, in the order in which they are gathered.
inline constexpr std::array kMoeRoles{Role::ffn_norm, Role::router_gate, Role::expert_w1, Role::expert_w3,
                                      Role::expert_w2};

struct Weight {
    const void* data = nullptr;  // in the arithmetic's element
    Shape shape;                 // gathered: [D], [E,D], [E_l,F_l,D], [E_l,D,F_l]
};

// A rank was loaded by one plan and runs another: it holds something else of a parameter than its plan computes with.
class PlanMismatch : public std::runtime_error {
public:
    PlanMismatch(Rank rank, const std::string& param, const Shape& held, const Shape& wanted);
    [[nodiscard]] Rank rank() const { return rank_; }
    [[nodiscard]] std::int64_t held() const { return held_; }      // elements
    [[nodiscard]] std::int64_t wanted() const { return wanted_; }

private:
    Rank rank_;
    std::int64_t held_;
    std::int64_t wanted_;
};
// Throws PlanMismatch where a shard of shape `held` is not the rank's piece of the gather, or, where nothing moves, not
// the whole of it.
void require_piece(const Plan& plan, std::size_t param_idx, Rank rank, const GatherPlan& gather, const Shape& held);

class LayerWeights {
public:
    // Reads the layer's shards; nothing moves between ranks yet. Throws PlanMismatch.
    DeviceLoadReport load(const Plan& plan, const Checkpoint& checkpoint, std::int64_t layer, const LocalRank& local,
                          Staging& staging, const PlanFaults* faults);
    // Makes room for the gathered weights of what was loaded, poisoned.
    void prepare(const Plan& plan, const LocalRank& local, Arithmetic arithmetic);

    // The gather of one role, if it moves anything: enqueue it with those of the other local ranks.
    [[nodiscard]] std::optional<DeviceCall> gather_call(Role role, const RankGroups& groups, Rank rank);
    // Joins the pieces and converts: after the gather, on the same stream.
    void settle(Role role, const LocalRank& local);

    [[nodiscard]] const Weight& of(Role role) const { return entries_.at(role).weight; }
    [[nodiscard]] const DeviceParam& held(Role role) const { return entries_.at(role).held; }
    // As it will be once it is gathered.
    [[nodiscard]] const Shape& gathered_shape(Role role) const { return entries_.at(role).plan.shape; }
    [[nodiscard]] std::span<const std::size_t> held_params() const { return held_params_; }
    [[nodiscard]] const DeviceParam* find(std::size_t param_idx) const;

private:
    struct Entry {
        DeviceParam held;
        DType dtype{};
        GatherPlan plan;
        DeviceBytes pieces;  // as gathered: one member's after another's
        DeviceBytes joined;  // in the checkpoint's dtype
        DeviceBytes converted;  // in the arithmetic's element
        Weight weight;
    };
    std::map<Role, Entry> entries_;
    std::vector<std::size_t> held_params_;
    Arithmetic arithmetic_{};
};

}  // namespace shardproof::gpu
