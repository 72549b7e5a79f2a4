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

struct SavedTensor {
    Tensor tensor;
    std::vector<std::byte> written;  // of each byte: not 0 once a rank has written it
};
using Saved = std::map<std::string, SavedTensor>;

// What one rank writes, by itself: the same store twice, of its bytes and of marks.
struct Written {
    std::vector<std::vector<std::byte>> bytes;
    std::vector<std::vector<std::byte>> marks;
    std::int64_t count = 0;
};
Written written_by(const LoadPlan& store_plan, const Checkpoint& checkpoint, std::span<const std::byte> shard) {
    Written written;
    for (const std::string& name : store_plan.tensors) {
        written.bytes.emplace_back(checkpoint.tensor(name).bytes.size());
        written.marks.emplace_back(checkpoint.tensor(name).bytes.size());
    }
    std::vector<std::span<std::byte>> bytes(written.bytes.begin(), written.bytes.end());
    std::vector<std::span<std::byte>> marks(written.marks.begin(), written.marks.end());
    written.count = store(store_plan, shard, bytes);
    store(store_plan, std::vector<std::byte>(shard.size(), std::byte{1}), marks);
    return written;
}

// Adds what a rank writes to one tensor: false where another rank has written other bytes.
bool add(SavedTensor& saved, std::span<const std::byte> bytes, std::span<const std::byte> marks) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (marks[i] == std::byte{0}) continue;
        if (saved.written[i] != std::byte{0} && saved.tensor.bytes[i] != bytes[i]) return false;
        saved.tensor.bytes[i] = bytes[i];
        saved.written[i] = marks[i];
    }
    return true;
}

// A message where the rank writes less than its shard, or other bytes than one before it.
std::optional<std::string> save(Subject& subject, std::size_t p, Rank rank, Saved& saved) {
    const Plan& plan = subject.plan();
    const Checkpoint& checkpoint = subject.loaded_model().checkpoint;
    sim::LoadReport ignored;
    const sim::HeldParam held = sim::load_param(plan, checkpoint, p, rank, subject.faults(), ignored);
    LoadPlan store_plan = make_load_plan(plan, p, rank);
    if (subject.planted() != nullptr && subject.planted()->on_save) subject.planted()->on_save(rank, p, store_plan);
    const Written written = written_by(store_plan, checkpoint, held.bytes);
    const std::string& name = plan.params[p].parameter.name;
    if (written.count != std::ssize(held.bytes))
        return fmt::format("{}: rank {} saves {} bytes of a shard of {}", name, rank.value(), written.count,
                           held.bytes.size());
    for (std::size_t i = 0; i < store_plan.tensors.size(); ++i) {
        const TensorView like = checkpoint.tensor(store_plan.tensors[i]);
        SavedTensor& tensor = saved[store_plan.tensors[i]];
        if (tensor.written.empty())
            tensor = {{like.dtype, like.shape, std::vector<std::byte>(like.bytes.size(), std::byte{0xFF})},
                      std::vector<std::byte>(like.bytes.size())};
        if (!add(tensor, written.bytes[i], written.marks[i]))
            return fmt::format("{}: rank {} saves other bytes of {} than a rank before it", name, rank.value(),
                               store_plan.tensors[i]);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> saved_here_loads_elsewhere(Subject& subject) {
    const std::optional<Case> other = other_layout(subject.c());
    if (!other) return subject.nothing_to_look_at();
    const Model& model = subject.model();
    const Plan& plan = subject.plan();
    Saved saved;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        for (std::int64_t r = 0; r < plan.world(); ++r) {
            if (auto message = save(subject, p, Rank{r}, saved)) return message;
        }
    }
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, is_saved] : saved) tensors.emplace_back(name, is_saved.tensor.view());
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
