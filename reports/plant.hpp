// Planting a known fault in a real run, to show what a failure looks like.
#pragma once
#include <optional>
#include <string>

#include "oracle/model/batch.hpp"
#include "oracle/model/model.hpp"
#include "props/laws/subject.hpp"
#include "reports/forward_options.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

class Planted {
public:
    Planted() = default;
    explicit Planted(props::Planted planted) : planted_{std::move(planted)} {}
    [[nodiscard]] const Plan& plan_to_run(const Plan& healthy) const {
        return planted_ && planted_->plan ? *planted_->plan : healthy;
    }
    // What the ranks load from instead of the model's own files; nullptr: from them.
    [[nodiscard]] const Checkpoint* loaded_from() const {
        return planted_ && planted_->model ? &planted_->model->checkpoint : nullptr;
    }
    [[nodiscard]] const sim::Faults* faults() const { return planted_ ? &planted_->faults : nullptr; }

private:
    std::optional<props::Planted> planted_;
};

// The mutant of that id; nothing for an empty one. Throws InputError for an unknown id, or where the fault changes
// nothing under this plan, shows only where runs are compared or laws look at a plan, or is none that devices take.
[[nodiscard]] Planted plant(const std::string& id, Backend backend, const Model& model, const Plan& plan,
                            const Batch& batch);

}  // namespace shardproof::reports
