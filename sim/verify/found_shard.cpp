#include "sim/verify/found_shard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "oracle/model/error.hpp"
#include "sim/plan/rules/vocabulary_rows.hpp"
#include "sim/verify/copy_runs.hpp"
#include "sim/verify/values.hpp"

namespace shardproof::verify {
namespace {

Shape signed_shape(const SafetensorsEntry& entry) { return {entry.shape.begin(), entry.shape.end()}; }

Shape with_last_two_swapped(Shape shape) {
    if (shape.size() >= 2) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
    return shape;
}

// How well a spelling fits a file.
struct Fit {
    std::size_t there = 0;
    std::size_t exact = 0;
    bool operator<(const Fit& other) const { return there != other.there ? there < other.there : exact < other.exact; }
};

Fit fit_of(const Spelling& spelling, const RankTensors& tensors) {
    Fit fit;
    for (const Part& part : spelling) {
        const SafetensorsEntry* const entry = tensors.find(part.source.tensor);
        if (entry == nullptr) continue;
        ++fit.there;
        fit.exact += signed_shape(*entry) == part.shape ? 1 : 0;
    }
    return fit;
}

// The box of a tensor of another shape than expected: fused dims are cut in proportion, others taken whole.
bool fit_to(Part& part, const Shape& declared) {
    Source& source = part.source;
    if (declared == part.shape) return true;
    if (part.shape != source.tensor_shape || declared.size() != source.tensor_shape.size()) return false;
    for (std::size_t j = 0; j < declared.size(); ++j) {
        Run& run = source.param_box[source.param_dim_of[j]];
        const std::int64_t expected = source.tensor_shape[j];
        if (run.size() == expected && run.begin == 0) {
            run.end = declared[j];
        } else if (declared[j] != expected) {
            if (expected == 0 || declared[j] * run.size() % expected != 0) return false;
            if (declared[j] * source.tensor_begin[j] % expected != 0) return false;
            source.tensor_begin[j] = declared[j] * source.tensor_begin[j] / expected;
            run.end = run.begin + declared[j] * run.size() / expected;
        }
    }
    source.tensor_shape = declared;
    part.shape = declared;
    return true;
}

class Finder {
public:
    Finder(const Plan& plan, const RankTensors& tensors, std::size_t param, Rank rank)
        : tensors_{&tensors}, param_{&plan.params[param]}, plan_{&plan} {
        found_.planned = local_shape(shard_of(plan, param, rank));
    }

    FoundShard take(const NameTable& names, std::size_t param, Rank rank, std::span<const std::int64_t> more) {
        std::vector<Spelling> spellings = names.spellings(param, rank);
        const Spelling* best = nullptr;
        Fit best_fit;
        for (const Spelling& spelling : spellings) {
            const Fit fit = fit_of(spelling, *tensors_);
            if (best != nullptr && !(best_fit < fit)) continue;
            best = &spelling;
            best_fit = fit;
        }
        found_.more_experts.assign(more.begin(), more.end());
        if (best == nullptr || (best_fit.there == 0 && more.empty())) {
            if (best != nullptr) note_absent(*best);
            return std::move(found_);
        }
        Spelling chosen = *best;
        if (best_fit.there == 0) chosen = one_by_one(spellings);
        note_absent(chosen);
        if (!more.empty() && !found_.absent_experts.empty()) add_experts(chosen, names, param, more);
        std::erase_if(chosen, [&](const Part& part) { return tensors_->find(part.source.tensor) == nullptr; });
        found_.is_there = !chosen.empty();
        if (!chosen.empty()) take_parts(chosen);
        return std::move(found_);
    }

private:
    // The spelling in which each expert has its tensor.
    static Spelling one_by_one(const std::vector<Spelling>& spellings) {
        for (const Spelling& spelling : spellings) {
            if (!spelling.empty() && spelling.front().expert) return spelling;
        }
        return {};
    }

    void note_absent(const Spelling& spelling) {
        std::set<std::string> absent;
        for (const Part& part : spelling) {
            if (tensors_->find(part.source.tensor) != nullptr || num_elements(part.shape) == 0) continue;
            if (absent.insert(part.source.tensor).second) found_.absent.push_back(part.source.tensor);
            if (part.expert) found_.absent_experts.push_back(*part.expert);
        }
    }

    // Tensors of experts that the rank should not have, in place of those it lacks: sorted among the rest by number.
    void add_experts(Spelling& chosen, const NameTable& names, std::size_t param, std::span<const std::int64_t> more) {
        const std::set<std::int64_t> wanted(more.begin(), more.end());
        Part like = chosen.front();
        for (const auto& [name, entry] : tensors_->by_name()) {
            const auto owner = names.expert_tensor(name);
            if (!owner || owner->param != param || !wanted.contains(owner->expert)) continue;
            Part part = like;
            part.source.tensor = name;
            part.expert = owner->expert;
            chosen.push_back(part);
        }
        std::erase_if(chosen, [&](const Part& part) { return tensors_->find(part.source.tensor) == nullptr; });
        std::ranges::stable_sort(chosen, {}, [](const Part& part) { return part.expert.value_or(0); });
    }

    void take_parts(Spelling& parts) {
        for (const Part& part : parts) {
            found_.names.push_back(part.source.tensor);
            if (part.expert) found_.named_experts.push_back(*part.expert);
        }
        const SafetensorsEntry& first = *tensors_->find(parts.front().source.tensor);
        found_.dtype = first.dtype;
        if (!is_readable(first.dtype)) {
            found_.trouble = fmt::format("dtype {} is not compared", name_of(first.dtype));
            return;
        }
        number_slots(parts);
        for (Part& part : parts) {
            if (!take_shape(part)) return;
        }
        set_shape(parts);
        if (!found_.trouble.empty()) return;
        take_bytes(parts);
        leave_out_padding();
    }

    // With experts absent, those that are there move together.
    static void number_slots(Spelling& parts) {
        std::int64_t slot = 0;
        for (Part& part : parts) {
            if (!part.expert) return;
            part.source.param_box[0] = {slot, slot + 1};
            ++slot;
        }
    }

    bool take_shape(Part& part) {
        const SafetensorsEntry& entry = *tensors_->find(part.source.tensor);
        const Shape declared = signed_shape(entry);
        if (entry.dtype != found_.dtype) {
            found_.trouble =
                fmt::format("its tensors have several dtypes, {} and {}", name_of(found_.dtype), name_of(entry.dtype));
            return false;
        }
        // Only where the planned shape says which way round it is.
        if (declared != part.shape && declared == with_last_two_swapped(part.shape) &&
            part.shape == part.source.tensor_shape && part.shape.size() >= 2) {
            const std::size_t n = part.shape.size();
            std::swap(part.source.param_dim_of[n - 1], part.source.param_dim_of[n - 2]);
            std::swap(part.source.tensor_begin[n - 1], part.source.tensor_begin[n - 2]);
            part.source.tensor_shape = part.shape = declared;
            found_.is_turned = true;
            return true;
        }
        if (fit_to(part, declared)) return true;
        if (num_elements(declared) == num_elements(part.shape)) {  // the same elements in another shape
            found_.reshaped = declared;
            return true;
        }
        found_.trouble = fmt::format("shape {} of {} cannot be taken apart, {} is planned", to_string(declared),
                                     printable(entry.name), to_string(part.shape));
        return false;
    }

    void set_shape(const Spelling& parts) {
        Shape shape(found_.planned.size(), 0);
        for (const Part& part : parts) {
            for (std::size_t dim = 0; dim < shape.size(); ++dim) {
                shape[dim] = std::max(shape[dim], part.source.param_box[dim].end);
            }
        }
        std::int64_t elements = 0;
        for (const Part& part : parts) {
            std::int64_t of_box = 1;
            for (const Run& run : part.source.param_box) of_box *= run.size();
            elements += of_box;
        }
        if (elements != num_elements(shape)) found_.trouble = "its tensors have shapes that do not go together";
        found_.shape = shape;
    }

    void take_bytes(const Spelling& parts) {
        Parameter as_parameter{"", param_->parameter.role, std::nullopt, found_.shape, {}};
        std::vector<IndexRuns> index;
        for (const std::int64_t extent : found_.shape)
            index.push_back(extent > 0 ? IndexRuns{{0, extent}} : IndexRuns{});
        for (const Part& part : parts) as_parameter.sources.push_back(part.source);
        const LoadPlan plan = make_load_plan(as_parameter, found_.dtype, index);
        const auto bytes_of = [&](const std::string& name) { return tensors_->view(*tensors_->find(name)).bytes; };
        const bool is_whole = plan.copies.size() == 1 && plan.copies.front().loops.empty() &&
                              plan.copies.front().bytes == plan.shard_bytes();
        if (is_whole) {
            found_.bytes = bytes_of(plan.tensors.front())
                               .subspan(static_cast<std::size_t>(plan.copies.front().source_begin),
                                        static_cast<std::size_t>(plan.shard_bytes()));
        } else {
            std::vector<std::span<const std::byte>> tensors;
            for (const std::string& name : plan.tensors) tensors.push_back(bytes_of(name));
            found_.owned.resize(static_cast<std::size_t>(plan.shard_bytes()));
            gather(plan, tensors, found_.owned);
            found_.bytes = found_.owned;
        }
    }

    // Rule sets that pad the vocabulary before they cut it store the padding; what stands there is theirs.
    void leave_out_padding() {
        const Role role = param_->parameter.role;
        if (role != Role::tok_embeddings && role != Role::lm_head) return;
        const std::int64_t tp = plan_->dims.tp();
        const std::int64_t multiple = plan_->rules == "vllm" ? 64 : plan_->rules == "megatron" ? 128 * tp : 0;
        if (multiple == 0 || found_.shape.size() != 2 || found_.shape[1] != found_.planned[1]) return;
        const std::int64_t padded = padded_to(param_->parameter.shape[0], multiple) / tp;
        if (found_.shape[0] != padded || found_.shape[0] <= found_.planned[0]) return;
        found_.bytes = found_.bytes.first(found_.bytes.size() / static_cast<std::size_t>(padded) *
                                          static_cast<std::size_t>(found_.planned[0]));
        found_.shape = found_.planned;
        found_.is_padded = true;
    }

    FoundShard found_;
    const RankTensors* tensors_;
    const ParamPlan* param_;
    const Plan* plan_;
};

}  // namespace

FoundShard find_shard(const Plan& plan, const NameTable& names, const RankTensors& tensors, std::size_t param,
                      Rank rank, std::span<const std::int64_t> more_experts) {
    return Finder(plan, tensors, param, rank).take(names, param, rank, more_experts);
}

}  // namespace shardproof::verify
