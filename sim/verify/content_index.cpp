#include "sim/verify/content_index.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

constexpr std::int64_t kBlockElements = std::int64_t{1} << 18;
constexpr std::size_t kCutsMax = 4096;

// place: 20 bits of parameter, 12 of cut, 32 of line.
constexpr std::uint64_t packed(std::size_t param, std::size_t cut, std::int64_t line) {
    return static_cast<std::uint64_t>(param) << 44U | static_cast<std::uint64_t>(cut) << 32U |
           static_cast<std::uint64_t>(line);
}

bool cuts_lines(const ParamPlan& param) {
    if (param.placement.shards) return true;
    const std::size_t last = param.parameter.shape.size() - 1;
    const auto is_on_last = [&](const auto& placement) {
        if constexpr (requires { placement.dim; }) return placement.dim == last;
        return false;
    };
    return std::ranges::any_of(param.placement.placements,
                               [&](const Placement& placement) { return std::visit(is_on_last, placement); });
}

void add_cut(std::vector<IndexRuns>& cuts, const IndexRuns& cut) {
    if (num_indices(cut) == 0 || cuts.size() >= kCutsMax) return;
    if (std::ranges::find(cuts, cut) == cuts.end()) cuts.push_back(cut);
}

}  // namespace

ColumnCuts column_cuts(const Plan& plan) {
    ColumnCuts cuts(plan.params.size());
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const std::int64_t length = line_length(plan.params[p].parameter.shape);
        if (!cuts_lines(plan.params[p])) {
            cuts[p] = {{{0, length}}};
            continue;
        }
        for (std::int64_t rank = 0; rank < plan.world(); ++rank) add_cut(cuts[p], shard_of(plan, p, Rank{rank}).back());
    }
    return cuts;
}

void add_width(ColumnCuts& cuts, const Plan& plan, std::size_t param, std::int64_t width) {
    const std::int64_t length = line_length(plan.params[param].parameter.shape);
    if (width <= 0 || width > length) return;
    const auto has_width = [&](const IndexRuns& cut) { return num_indices(cut) == width; };
    if (std::ranges::any_of(cuts[param], has_width)) return;
    for (std::int64_t begin = 0; begin + width <= length; begin += width)
        add_cut(cuts[param], {{begin, begin + width}});
}

ContentIndex::ContentIndex(const Plan& plan, const LineReader& reader, const ColumnCuts& cuts,
                           std::optional<Narrow> narrow, std::size_t entries_max) {
    SP_ASSERT(cuts.size() == plan.params.size() && plan.params.size() < (1U << 20U));
    std::uint64_t lines = 0;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const std::int64_t of_param = num_lines(plan.params[p].parameter.shape);
        SP_ASSERT(of_param < std::int64_t{1} << 32);
        lines += static_cast<std::uint64_t>(of_param) * cuts[p].size();
    }
    stride_ = std::max<std::uint64_t>(1, (lines + entries_max - 1) / entries_max);
    entries_.reserve(static_cast<std::size_t>(lines / stride_));
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const std::int64_t of_param = num_lines(plan.params[p].parameter.shape);
        for (std::size_t cut = 0; cut < cuts[p].size(); ++cut) {
            const std::int64_t width = num_indices(cuts[p][cut]);
            const std::int64_t block = std::max<std::int64_t>(1, kBlockElements / width);
            for (std::int64_t first = 0; first < of_param; first += block) {
                const std::int64_t count = std::min(block, of_param - first);
                std::vector<Value> values = reader.read(p, first, count, cuts[p][cut]);
                if (narrow) {
                    for (Value& value : values) value = rounded(*narrow, value).value_or(kNoF32);
                }
                add(p, cut, first, values, width);
            }
        }
    }
    std::ranges::sort(entries_, [](const Entry& a, const Entry& b) {
        return a.hash != b.hash ? a.hash < b.hash : a.place < b.place;
    });
}

void ContentIndex::add(std::size_t param, std::size_t cut, std::int64_t first, std::span<const Value> values,
                       std::int64_t width) {
    const auto step = static_cast<std::size_t>(width);
    for (std::size_t at = 0; at < values.size(); at += step, ++first) {
        const std::span<const Value> line = values.subspan(at, step);
        if (is_constant(line)) continue;
        const std::uint64_t hash = hash_of(line);
        if (hash % stride_ == 0) entries_.push_back({hash, packed(param, cut, first)});
    }
}

std::vector<Origin> ContentIndex::find(std::uint64_t hash) const {
    std::vector<Origin> origins;
    auto at = std::ranges::lower_bound(entries_, hash, {}, &Entry::hash);
    for (; at != entries_.end() && at->hash == hash; ++at) {
        origins.push_back({static_cast<std::size_t>(at->place >> 44U),
                           static_cast<std::size_t>(at->place >> 32U & 0xFFFU),
                           static_cast<std::int64_t>(at->place & 0xFFFF'FFFFU)});
    }
    return origins;
}

}  // namespace shardproof::verify
