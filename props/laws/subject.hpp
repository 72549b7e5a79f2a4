// Subject: one case under test. Model, plan, batch and run are made when a law first asks, and shared by all laws.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "oracle/judge.hpp"
#include "props/check.hpp"
#include "props/gen/case.hpp"
#include "sim/faults.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/trace.hpp"

namespace shardproof::props {

// What the planter of a fault may look at: the case as it should run.
struct Healthy {
    const Case& c;
    const Model& model;
    const Plan& plan;
    const Batch& batch;
};

// What goes wrong. Nothing of it is a switch inside the product.
struct Planted {
    std::optional<Plan> plan;  // runs instead of the healthy one, by which loaded bytes are judged
    bool is_its_own_judge = false;  // loaded bytes are judged by that plan: the mistake is everywhere the same
    std::optional<Model> model;  // the ranks load it instead of the healthy one, which is the oracle's
    sim::Faults faults;
    // After the plan was made by which a rank writes its shard of a parameter back into checkpoint tensors.
    std::function<void(Rank, std::size_t param_idx, LoadPlan&)> on_save;
    // Stands between the tester law and the judge; empty: the judge itself.
    std::function<LayerVerdict(oracle::Judge&, const StageRecord& recorded, const StageRecord& moved)> judge;
};
// nullopt: the fault changes nothing in this case.
using Plant = std::function<std::optional<Planted>(const Healthy&)>;

// What a rank's routed experts of one layer do: its own rows, and the plans that faults may have altered.
struct RankDispatch {
    sim::Routing routing;  // of the rows that this rank itself dispatches
    DispatchPlan dispatch;
    DispatchPlan combine;
};
struct LayerDispatch {
    std::int64_t layer = 0;
    ExpertMap experts;
    std::vector<RankDispatch> ranks;
};

class Subject {
public:
    // `plant` is asked once. Throws what building the model throws.
    explicit Subject(const Case& c, const Plant& plant = {});
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

    [[nodiscard]] const Case& c() const { return case_; }
    [[nodiscard]] const Model& model() const { return model_; }
    [[nodiscard]] const Batch& batch() const { return batch_; }
    // The plan that should run, and the one that does.
    [[nodiscard]] const Plan& healthy_plan() const { return plan_; }
    [[nodiscard]] const Plan& plan() const { return planted_ && planted_->plan ? *planted_->plan : plan_; }
    // What the ranks load.
    [[nodiscard]] const Model& loaded_model() const { return planted_ && planted_->model ? *planted_->model : model_; }
    [[nodiscard]] const sim::Faults* faults() const { return planted_ ? &planted_->faults : nullptr; }
    // False where the fault given changes nothing.
    [[nodiscard]] bool is_planted() const { return planted_.has_value(); }
    [[nodiscard]] const Planted* planted() const { return planted_ ? &*planted_ : nullptr; }

    // Loads, runs and judges once; the result and the trace are kept.
    const CheckReport& report();
    [[nodiscard]] const CheckReport* report_if_made() const { return report_ ? &*report_ : nullptr; }
    const sim::Trace& trace();
    // MoE layers of a run that ended, from the recorded routing.
    const std::vector<LayerDispatch>& dispatches();

    // What a law returns of a case that has nothing for it to look at: it holds there, and proves nothing.
    std::nullopt_t nothing_to_look_at() {
        looked_ = false;
        return std::nullopt;
    }
    // Whether the law that was tried last had something.
    [[nodiscard]] bool looked() const { return looked_; }
    void look_anew() { looked_ = true; }

private:
    Case case_;
    Model model_;
    Batch batch_;
    Plan plan_;
    std::optional<Planted> planted_;
    std::optional<CheckReport> report_;
    sim::Trace trace_;
    std::optional<std::vector<LayerDispatch>> dispatches_;
    bool looked_ = true;
};

// The run of a plan without judging it: nullopt when it stalls. Bits are those of Subject::report's result.
[[nodiscard]] std::optional<Result> run_plan(const Plan& plan, const Model& model, const Batch& batch,
                                             Arithmetic arithmetic, std::uint64_t seed, const sim::Faults* faults);

}  // namespace shardproof::props
