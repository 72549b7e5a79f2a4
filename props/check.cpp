#include "props/check.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "oracle/model/error.hpp"
#include "oracle/transformer.hpp"
#include "sim/plan/declaration.hpp"

namespace shardproof {

namespace {

// Walks the indices of a box of runs in storage order, row by row of the last dim, and compares bytes.
class ShardComparer {
public:
    ShardComparer(const Tensor& whole, const std::vector<IndexRuns>& index, std::span<const std::byte> held)
        : whole_{whole}, index_{index}, held_{held}, width_{bits_of(whole.dtype) / 8}, at_(index.size()) {}

    // The global index of the first element that differs, or nullopt.
    std::optional<std::vector<std::int64_t>> first_difference() {
        if (walk(0, 0)) return at_;
        return std::nullopt;
    }
    [[nodiscard]] std::int64_t held_bytes_passed() const { return held_at_; }

private:
    bool walk(std::size_t dim, std::int64_t base) {
        if (index_.empty()) return compare(base, 1);
        for (const Run& run : index_[dim]) {
            if (dim + 1 == index_.size()) {
                const std::int64_t begin = base * whole_.shape[dim] + run.begin;
                if (compare(begin, run.size())) {
                    at_[dim] = run.begin + differing_;
                    return true;
                }
                continue;
            }
            for (std::int64_t i = run.begin; i < run.end; ++i) {
                at_[dim] = i;
                if (walk(dim + 1, base * whole_.shape[dim] + i)) return true;
            }
        }
        return false;
    }

    bool compare(std::int64_t element, std::int64_t count) {
        const std::byte* want = whole_.bytes.data() + element * width_;
        const std::byte* got = held_.data() + held_at_;
        const auto bytes = static_cast<std::size_t>(count * width_);
        if (std::memcmp(want, got, bytes) == 0) {
            held_at_ += count * width_;
            return false;
        }
        differing_ = 0;
        while (std::memcmp(want + differing_ * width_, got + differing_ * width_, static_cast<std::size_t>(width_)) ==
               0)
            ++differing_;
        held_at_ += differing_ * width_;
        return true;
    }

    const Tensor& whole_;
    const std::vector<IndexRuns>& index_;
    std::span<const std::byte> held_;
    std::int64_t width_;
    std::vector<std::int64_t> at_;
    std::int64_t held_at_ = 0;
    std::int64_t differing_ = 0;
};

std::int64_t flat_index(const std::vector<std::int64_t>& coordinate, const Shape& shape) {
    std::int64_t flat = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + coordinate[d];
    return flat;
}

// Every shard of the stage that ran last, by parameter, then rank.
std::optional<Mismatch> judge_stage_load(const Model& model, const Plan& plan, const sim::Forward& forward) {
    const std::span<const sim::HeldParam> first = forward.held(Rank{0});
    for (std::size_t i = 0; i < first.size(); ++i) {
        const std::size_t param_idx = first[i].param_idx;
        const Tensor whole =
            oracle::whole_parameter(model.config, model.checkpoint, plan.params[param_idx].parameter.name);
        for (std::int64_t r = 0; r < plan.world(); ++r) {
            const sim::HeldParam& held = forward.held(Rank{r})[i];
            if (auto mismatch = judge_load(plan, param_idx, Rank{r}, whole, held.bytes, held.shape)) return mismatch;
        }
    }
    return std::nullopt;
}

Mismatch stall_mismatch(const StageRecord& stage, const sim::Stall& stall) {
    return exact_mismatch(name_of(stage.kind, stage.layer), stall.waits.empty() ? Rank{0} : stall.waits.front().rank,
                          {}, 0, 0, stall.message);
}

}  // namespace

Mismatch exact_mismatch(std::string layer, Rank rank, std::vector<std::int64_t> coordinate, double got, double want,
                        std::string why) {
    return {.layer = std::move(layer),
            .rank = rank,
            .coordinate = std::move(coordinate),
            .got = got,
            .want = want,
            .bound = 0,
            .why = std::move(why)};
}

std::optional<Mismatch> judge_load(const Plan& plan, std::size_t param_idx, Rank rank, const Tensor& whole,
                                   std::span<const std::byte> held, const Shape& held_shape) {
    const std::vector<IndexRuns> index = shard_of(plan, param_idx, rank);
    const std::string& name = plan.params[param_idx].parameter.name;
    const auto failed = [&](std::vector<std::int64_t> coordinate, double got, double want, std::string why) {
        return exact_mismatch(name, rank, std::move(coordinate), got, want, std::move(why));
    };
    const Shape planned = local_shape(index);
    if (held_shape != planned)
        return failed({}, 0, 0, "holds shape " + to_string(held_shape) + " where the plan says " + to_string(planned));
    SP_ASSERT(static_cast<std::int64_t>(held.size()) == num_elements(planned) * bits_of(whole.dtype) / 8);
    ShardComparer comparer{whole, index, held};
    const auto coordinate = comparer.first_difference();
    if (!coordinate) return std::nullopt;
    const std::int64_t width = bits_of(whole.dtype) / 8;
    const TensorView held_view{.dtype = whole.dtype, .shape = held_shape, .bytes = held};
    return failed(*coordinate, element_as_double(held_view, comparer.held_bytes_passed() / width),
                  element_as_double(whole.view(), flat_index(*coordinate, whole.shape)),
                  "loaded bytes are not those of the checkpoint");
}

std::optional<Mismatch> judge_coverage(const Plan& plan) {
    const std::vector<CoverageFault> faults = coverage_faults(plan);
    if (faults.empty()) return std::nullopt;
    const CoverageFault& first = faults.front();
    return exact_mismatch(first.param, first.rank.value_or(Rank{0}), first.index, 0, 0, first.why);
}

std::optional<Mismatch> judge_declarations(const Plan& plan) {
    const std::vector<DeclarationViolation> violations = declaration_violations(plan);
    if (violations.empty()) return std::nullopt;
    const DeclarationViolation& first = violations.front();
    return exact_mismatch(first.param, Rank{0}, {}, 0, 0, "axis " + first.axis + " " + first.reason);
}

CheckReport failed_before_loading(const Plan& plan, Mismatch failure) {
    CheckReport report;
    const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
    report.load.bytes_planned = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
    report.load_ok = false;
    report.failure = std::move(failure);
    return report;
}

CheckReport check(const Model& model, const Plan& plan, const Batch& batch, const CheckOptions& options) {
    if (auto failure = judge_declarations(plan)) return failed_before_loading(plan, std::move(*failure));
    CheckReport report;
    sim::Forward forward{
        plan,
        options.loaded_from == nullptr ? model.checkpoint : *options.loaded_from,
        batch,
        {.arithmetic = options.arithmetic, .seed = options.seed, .faults = options.faults, .trace = options.trace}};
    oracle::Judge judge{model.config, model.checkpoint, batch, options.arithmetic};
    const Plan& judged_plan = options.judged_plan == nullptr ? plan : *options.judged_plan;
    if (options.keep_result) report.result = Result{.arithmetic = options.arithmetic, .stages = {}};
    std::int64_t done = 0;
    while (!forward.done()) {
        sim::StageOutcome stage = forward.next();
        report.load += stage.load;
        auto load_failure = judge_stage_load(model, judged_plan, forward);
        if (load_failure || stage.load.poison_left > 0) report.load_ok = false;
        if (!report.failure && load_failure) report.failure = std::move(load_failure);
        if (stage.stall) {
            if (!report.failure) report.failure = stall_mismatch(stage.record, *stage.stall);
            report.stall = std::move(stage.stall);
            break;
        }
        report.verdict.layers.push_back(judge.judge(stage.record));
        if (!report.failure) report.failure = report.verdict.layers.back().failure;
        if (options.keep_result) report.result->stages.push_back(std::move(stage.record));
        if (options.progress) options.progress(++done, forward.num_stages());
    }
    return report;
}

}  // namespace shardproof
