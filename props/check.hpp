// check: load, run and judge one model under one plan: the whole pipeline as one call. What `shardproof check`, the
// laws and the mutants share.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "oracle/judge.hpp"
#include "oracle/model/model.hpp"
#include "sim/forward.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof {

struct CheckOptions {
    Arithmetic arithmetic = Arithmetic::f32;
    std::uint64_t seed = 0;                  // of the scheduler
    const sim::Faults* faults = nullptr;     // planted, or none
    const Plan* judged_plan = nullptr;       // whose shards loaded bytes are judged by; none: the plan that runs
    const Checkpoint* loaded_from = nullptr;  // by the ranks; none: the model's, which is the oracle's
    bool keep_result = false;                // fill CheckReport::result
    sim::Trace* trace = nullptr;
    std::function<void(std::int64_t stages_done, std::int64_t stages)> progress;
};

struct CheckReport {
    sim::LoadReport load;
    bool load_ok = true;
    Verdict verdict;                          // one entry a stage that ran
    std::optional<sim::Stall> stall;
    std::optional<Mismatch> failure;          // the first: of the load, the stall or the verdict, by stage
    std::optional<Result> result;
    [[nodiscard]] bool ok() const { return !failure.has_value(); }
};

// A stage that stalls ends the run; one that loads or computes wrongly does not.
[[nodiscard]] CheckReport check(const Model& model, const Plan& plan, const Batch& batch, const CheckOptions& options);

// A mismatch that no bound forgives. `layer` is a layer's or a parameter's name.
[[nodiscard]] Mismatch exact_mismatch(std::string layer, Rank rank, std::vector<std::int64_t> coordinate, double got,
                                      double want, std::string why);

// What makes a plan fail before anything is loaded: the first element that it does not hold as it should.
// Mismatch::layer is the parameter's name, coordinate the element's global index.
[[nodiscard]] std::optional<Mismatch> judge_coverage(const Plan& plan);
// What makes a plan fail before anything is loaded: the first declaration that contradicts it. Mismatch::layer is the
// parameter's name, why begins with the axis.
[[nodiscard]] std::optional<Mismatch> judge_declarations(const Plan& plan);
// The report of a plan that fails by either.
[[nodiscard]] CheckReport failed_before_loading(const Plan& plan, Mismatch failure);

// Whether a rank's shard holds what the plan says, against the whole parameter assembled by the oracle's own path and
// cut by shard_of. Mismatch::layer is the parameter's name, coordinate its global index.
[[nodiscard]] std::optional<Mismatch> judge_load(const Plan& plan, std::size_t param_idx, Rank rank,
                                                 const Tensor& whole, std::span<const std::byte> held,
                                                 const Shape& held_shape);

}  // namespace shardproof
