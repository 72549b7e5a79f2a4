// What devices did with one layer, judged by pure functions: the dispatch plan, what arrived, what was loaded, what was
// carried.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu/device_world.hpp"
#include "oracle/judge.hpp"
#include "oracle/model/model.hpp"
#include "props/check.hpp"
#include "sim/faults.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::props {

// The dispatch plan that a rank's device computed, against plan_dispatch of the ids that it dispatched.
[[nodiscard]] std::optional<Mismatch> judge_dispatch(const std::string& layer, const gpu::MoeRank& rank,
                                                     const ExpertMap& experts, std::int64_t top_k);
// Rows that arrived for each of a rank's experts, against what its group sent. `all` are all ranks, ascending.
[[nodiscard]] std::optional<Mismatch> judge_arrival(const std::string& layer, const gpu::MoeRank& rank,
                                                    std::span<const gpu::MoeRank> all, const ExpertMap& experts,
                                                    const Plan& plan);
// What this process's ranks loaded of `plan`, parameter by parameter, against what `judged` says.
[[nodiscard]] std::optional<Mismatch> judge_load_of(const Model& model, const Plan& judged, gpu::DeviceWorld& world,
                                                    const Plan& plan, std::span<const gpu::MoeRank> mine);
// Elements of these parameters' shards, of all ranks, that the load plans with what `faults` do to them never write.
[[nodiscard]] std::int64_t elements_unwritten(const Checkpoint& checkpoint, const Plan& plan,
                                              std::span<const std::size_t> params, const sim::Faults* faults);
// The first element of a rank's output that is not exactly `times` what came.
[[nodiscard]] std::optional<Mismatch> judge_carried(const std::string& layer, const gpu::MoeRank& rank,
                                                    std::int64_t times);

}  // namespace shardproof::props
