// Saved by the ranks of one layout, loaded by those of another.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "oracle/model/error.hpp"
#include "props/gen/draw_case.hpp"
#include "props/laws/loading_laws.hpp"
#include "sim/memory.hpp"

namespace shardproof::props::loading {

namespace {

// Any other layout of up to 8 ranks that takes the model.
std::optional<Case> other_layout(const Case& c) {
    constexpr std::int64_t kWorldMax = 8;
    std::vector<Case> others;
    for (std::int64_t w = 1; w <= kWorldMax; ++w) {
        for (CaseLayout& layout : layouts_of_world(w)) {
            Case other = c;
            other.layout = layout;
            other.sequences.clear();
            if (layout != c.layout && is_valid(other)) others.push_back(std::move(other));
        }
    }
    if (others.empty()) return std::nullopt;
    return others[c.scheduler_seed % others.size()];
}

using Saved = std::map<std::string, Tensor>;

void save(Subject& subject, std::size_t p, Rank rank, Saved& saved) {
    const Plan& plan = subject.plan();
    const Checkpoint& checkpoint = subject.loaded_model().checkpoint;
    sim::LoadReport ignored;
    const sim::HeldParam held = sim::load_param(plan, checkpoint, p, rank, subject.faults(), ignored);
    LoadPlan store_plan = make_load_plan(plan, p, rank);
    if (subject.planted() != nullptr && subject.planted()->on_save) subject.planted()->on_save(rank, p, store_plan);
    std::vector<std::span<std::byte>> targets;
    for (const std::string& name : store_plan.tensors) {
        const TensorView like = checkpoint.tensor(name);
        Tensor& tensor = saved[name];
        if (tensor.bytes.empty())
            tensor = {like.dtype, like.shape, std::vector<std::byte>(like.bytes.size(), std::byte{0xFF})};
        targets.emplace_back(tensor.bytes);
    }
    store(store_plan, held.bytes, targets);
}

}  // namespace

std::optional<std::string> saved_here_loads_elsewhere(Subject& subject) {
    const std::optional<Case> other = other_layout(subject.c());
    if (!other) return std::nullopt;
    const Model& model = subject.model();
    const Plan& plan = subject.plan();
    Saved saved;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        for (std::int64_t r = 0; r < plan.world(); ++r) save(subject, p, Rank{r}, saved);
    }
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, tensor] : saved) tensors.emplace_back(name, tensor.view());
    const Checkpoint copy = Checkpoint::from_sources({own_bytes(to_safetensors(tensors), "saved.safetensors")});

    const Plan elsewhere =
        make_plan(model, dims_of(other->layout), rule_set_named(other->layout.rules), options_of(other->layout));
    for (std::size_t p = 0; p < elsewhere.params.size(); ++p) {
        const Parameter& parameter = elsewhere.params[p].parameter;
        for (const Source& source : parameter.sources) {
            if (!copy.contains(source.tensor)) return fmt::format("{} is not saved", source.tensor);
        }
        for (std::int64_t r = 0; r < elsewhere.world(); ++r) {
            sim::LoadReport ignored;
            const sim::HeldParam want = sim::load_param(elsewhere, model.checkpoint, p, Rank{r}, nullptr, ignored);
            const sim::HeldParam got = sim::load_param(elsewhere, copy, p, Rank{r}, nullptr, ignored);
            if (want.bytes == got.bytes) continue;
            return fmt::format("{} on rank {} of {}: other bits than from the checkpoint itself", parameter.name, r,
                               print_case(*other));
        }
    }
    return std::nullopt;
}

}  // namespace shardproof::props::loading
