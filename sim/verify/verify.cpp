#include "sim/verify/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "oracle/model/error.hpp"
#include "sim/verify/causes.hpp"
#include "sim/verify/compare.hpp"
#include "sim/verify/describe.hpp"
#include "sim/verify/diagnose.hpp"

namespace shardproof::verify {
namespace {

// "layers.12.attention..." -> 12.
std::optional<std::int64_t> layer_of(const std::string& name) {
    const std::size_t at = name.starts_with("layers.") ? 0 : name.find(".layers.");
    if (at == std::string::npos) return std::nullopt;
    const std::size_t begin = at == 0 ? 7 : at + 8;
    std::int64_t layer = 0;
    std::size_t end = begin;
    for (; end < name.size() && end < begin + 9 && name[end] >= '0' && name[end] <= '9'; ++end)
        layer = layer * 10 + (name[end] - '0');
    if (end == begin || end == name.size() || name[end] != '.') return std::nullopt;
    return layer;
}

class Verification {
public:
    explicit Verification(const Request& request)
        : request_{request},
          plan_{request.plan},
          names_{request.names, request.plan},
          comparer_{request.checkpoint},
          diagnoser_{request.plan, request.checkpoint} {}

    Report run() {
        report_.names = names_.name();
        for (std::int64_t r = 0; r < plan_.world(); ++r) compare_rank(Rank{r});
        look_everywhere();
        for (auto& [place, difference] : found_) report_.differences.push_back(std::move(difference));
        report_.cause = find_cause(plan_, report_.differences);
        if (padded_ > 0) {
            report_.notes.push_back(fmt::format(
                "{} shards of the vocabulary end in padding, as these rules store it: it was not compared", padded_));
        }
        if (left_alone_ > 0)
            report_.notes.push_back(fmt::format("{} tensors of layers beyond --layers were left alone", left_alone_));
        return std::move(report_);
    }

private:
    using MoreExperts = std::map<std::size_t, std::vector<std::int64_t>>;

    // Tensors of experts that this rank should not have, by parameter.
    MoreExperts more_experts(const RankTensors& tensors, Rank rank) const {
        MoreExperts more;
        for (const auto& [name, entry] : tensors.by_name()) {
            const auto owner = names_.expert_tensor(name);
            if (!owner) continue;
            const IndexRuns held = shard_of(plan_, owner->param, rank).front();
            const bool is_planned = std::ranges::any_of(
                held, [&](Run run) { return run.begin <= owner->expert && owner->expert < run.end; });
            if (!is_planned) more[owner->param].push_back(owner->expert);
        }
        for (auto& [param, experts] : more) std::ranges::sort(experts);
        return more;
    }

    void compare_rank(Rank rank) {
        const RankTensors tensors(request_.dump.file(rank), names_);
        const MoreExperts more = more_experts(tensors, rank);
        std::set<std::string> used;
        for (std::size_t p = 0; p < plan_.params.size(); ++p) {
            const auto experts = more.find(p);
            const std::vector<std::int64_t> of_param =
                experts == more.end() ? std::vector<std::int64_t>{} : experts->second;
            const FoundShard found = find_shard(plan_, names_, tensors, p, rank, of_param);
            used.insert(found.names.begin(), found.names.end());
            padded_ += found.is_padded ? 1 : 0;
            compare(p, rank, found);
            // Experts beyond the planned ones, these being all there.
            const bool are_taken = !found.absent_experts.empty();
            if (!of_param.empty() && !are_taken) add_unexpected_experts(p, rank, of_param);
            for (const auto& [name, entry] : tensors.by_name()) {
                if (of_param.empty()) break;
                const auto owner = names_.expert_tensor(name);
                if (owner && owner->param == p) used.insert(name);
            }
        }
        add_unexpected(tensors, rank, used);
    }

    void compare(std::size_t p, Rank rank, const FoundShard& found) {
        report_.bytes_compared += static_cast<std::int64_t>(found.bytes.size());
        if (request_.on_compared) request_.on_compared(static_cast<std::int64_t>(found.bytes.size()));
        if (!found.is_there && num_elements(found.planned) == 0) return;
        const bool is_whole = found.is_there && found.is_as_declared() && found.absent.empty();
        if (is_whole && comparer_.holds_planned(make_load_plan(plan_, p, rank), found)) return;
        bool is_known = true;
        std::optional<Difference> difference = diagnoser_.diagnose(p, rank, found, false, is_known);
        if (!is_known) {
            unknown_.push_back({p, rank});
        } else if (difference) {
            add(p, rank, std::move(*difference));
        }
    }

    // A parameter after the other, since the index of whose shard is whose is kept for a few of them.
    void look_everywhere() {
        std::ranges::sort(unknown_);
        for (const auto& [p, rank] : unknown_) {
            const RankTensors tensors(request_.dump.file(rank), names_);
            const MoreExperts more = more_experts(tensors, rank);
            const auto experts = more.find(p);
            const FoundShard found = find_shard(plan_, names_, tensors, p, rank,
                                                experts == more.end() ? std::vector<std::int64_t>{} : experts->second);
            bool is_known = true;
            if (auto difference = diagnoser_.diagnose(p, rank, found, true, is_known))
                add(p, rank, std::move(*difference));
        }
    }

    void add(std::size_t p, Rank rank, Difference difference) {
        found_.emplace(Place{rank, p, std::string{}}, std::move(difference));
    }

    void add_unexpected_experts(std::size_t p, Rank rank, const std::vector<std::int64_t>& experts) {
        const Parameter& parameter = plan_.params[p].parameter;
        Difference difference;
        difference.rank = rank;
        difference.param = parameter.name;
        difference.param_idx = p;
        difference.kind = Kind::unexpected;
        difference.expected = index_in_words(parameter, shard_of(plan_, p, rank));
        difference.found = counted("expert", experts) + " as well";
        difference.found_experts = experts;
        found_.emplace(Place{rank, p, "unexpected"}, std::move(difference));
    }

    // What a tied model's dump may have besides: the embeddings under the head's name.
    bool is_tied_head(const RankTensors& tensors, const std::string& name, const SafetensorsEntry& entry) const {
        if (!plan_.config.tie_embeddings || (name != "lm_head.weight" && name != "output.weight")) return false;
        for (const char* const embeddings : {"tok_embeddings.weight", "embed_tokens.weight"}) {
            const SafetensorsEntry* const other = tensors.find(embeddings);
            if (other != nullptr && other->shape == entry.shape &&
                std::ranges::equal(tensors.view(*other).bytes, tensors.view(entry).bytes))
                return true;
        }
        return false;
    }

    void add_unexpected(const RankTensors& tensors, Rank rank, const std::set<std::string>& used) {
        const auto add_one = [&](const SafetensorsEntry& entry, std::string found) {
            Difference difference;
            difference.rank = rank;
            difference.param = entry.name;
            difference.kind = Kind::unexpected;
            difference.expected = "nothing of this name";
            difference.found = std::move(found);
            found_.emplace(Place{rank, plan_.params.size(), entry.name}, std::move(difference));
        };
        for (const auto& [name, entry] : tensors.by_name()) {
            if (used.contains(name) || is_no_parameter(name) || is_tied_head(tensors, name, *entry)) continue;
            const std::optional<std::int64_t> layer = layer_of(name);
            if (request_.is_cut_model && layer && *layer >= plan_.config.num_layers) {
                ++left_alone_;
                continue;
            }
            const Shape shape(entry->shape.begin(), entry->shape.end());
            if (num_elements(shape) == 0) continue;
            add_one(*entry, fmt::format("{} {}", name_of(entry->dtype), to_string(shape)));
        }
        for (const SafetensorsEntry* const entry : tensors.left_over())
            add_one(*entry, "a second tensor of this parameter's name");
    }

    struct Place {
        Rank rank;
        std::size_t param;
        std::string name;
        auto operator<=>(const Place&) const = default;
    };

    const Request& request_;
    const Plan& plan_;
    NameTable names_;
    Comparer comparer_;
    Diagnoser diagnoser_;
    std::vector<std::pair<std::size_t, Rank>> unknown_;
    std::map<Place, Difference> found_;
    std::int64_t padded_ = 0;
    std::int64_t left_alone_ = 0;
    Report report_;
};

}  // namespace

Report verify(const Request& request) {
    SP_ASSERT(request.dump.world() == request.plan.world());
    return Verification(request).run();
}

std::uint64_t memory_needed(const Plan& plan) {
    std::int64_t most = 0;
    for (std::size_t p = 0; p < plan.params.size(); ++p) most = std::max(most, shard_bytes(plan, p, Rank{0}));
    return static_cast<std::uint64_t>(most);
}

}  // namespace shardproof::verify
