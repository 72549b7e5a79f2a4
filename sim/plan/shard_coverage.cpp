#include "sim/plan/shard_coverage.hpp"

#include <algorithm>
#include <map>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

constexpr std::size_t kFaultsShown = 4;
constexpr std::int64_t kCellsMax = std::int64_t{1} << 26;

// Equal shards of several ranks count as one, that many times.
using Holders = std::map<std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>>, std::vector<Rank>>;

Holders distinct_shards(const RankShards& shards) {
    Holders holders;
    for (std::size_t r = 0; r < shards.size(); ++r) {
        std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> key;
        for (const IndexRuns& runs : shards[r]) {
            auto& dim = key.emplace_back();
            for (const Run& run : runs) dim.emplace_back(run.begin, run.end);
        }
        holders[std::move(key)].emplace_back(static_cast<std::int64_t>(r));
    }
    return holders;
}

// The parameter cut at every place where some shard begins or ends: inside a cell all elements have the same holders.
class Cells {
public:
    Cells(const Shape& shape, const Holders& holders) : cuts_(shape.size()) {
        std::int64_t num_cells = 1;
        for (std::size_t d = 0; d < shape.size(); ++d) {
            cuts_[d] = {0, shape[d]};
            for (const auto& [index, ranks] : holders) {
                for (const auto& [begin, end] : index[d]) cuts_[d].insert(cuts_[d].end(), {begin, end});
            }
            std::sort(cuts_[d].begin(), cuts_[d].end());
            cuts_[d].erase(std::unique(cuts_[d].begin(), cuts_[d].end()), cuts_[d].end());
            num_cells *= std::max<std::int64_t>(extent(d), 0);
            SP_ASSERT(num_cells <= kCellsMax);
        }
        counts_.assign(static_cast<std::size_t>(num_cells), 0);
    }

    [[nodiscard]] std::int64_t extent(std::size_t dim) const {
        return static_cast<std::int64_t>(cuts_[dim].size()) - 1;
    }
    [[nodiscard]] std::size_t size() const { return counts_.size(); }
    [[nodiscard]] std::int64_t count(std::size_t cell) const { return counts_[cell]; }

    [[nodiscard]] Box box(std::size_t cell) const {
        Box box(cuts_.size());
        auto rest = static_cast<std::int64_t>(cell);
        for (std::size_t d = cuts_.size(); d-- > 0;) {
            const auto i = static_cast<std::size_t>(rest % extent(d));
            rest /= extent(d);
            box[d] = {cuts_[d][i], cuts_[d][i + 1]};
        }
        return box;
    }

    // Adds `ranks` holders of every cell of the index; a run that comes twice counts twice.
    void add(const Holders::key_type& index, std::int64_t ranks) { add(index, ranks, 0, 0); }

private:
    void add(const Holders::key_type& index, std::int64_t ranks, std::size_t dim, std::int64_t base) {
        if (dim == cuts_.size()) {
            counts_[static_cast<std::size_t>(base)] += ranks;
            return;
        }
        for (const auto& [begin, end] : index[dim]) {
            const std::vector<std::int64_t>& cuts = cuts_[dim];
            auto i = std::lower_bound(cuts.begin(), cuts.end(), begin) - cuts.begin();
            for (; cuts[static_cast<std::size_t>(i)] < end; ++i) add(index, ranks, dim + 1, base * extent(dim) + i);
        }
    }

    std::vector<std::vector<std::int64_t>> cuts_;
    std::vector<std::int64_t> counts_;
};

std::int64_t elements_of(const Box& box) {
    std::int64_t elements = 1;
    for (const Run& run : box) elements *= run.size();
    return elements;
}

std::string printed_box(const Box& box) {
    std::vector<IndexRuns> index;
    for (const Run& run : box) index.push_back({run});
    return box.empty() ? "its element" : printed_index(index);
}

std::vector<Rank> holders_of(const Holders& holders, const Box& box) {
    std::vector<Rank> found;
    for (const auto& [index, ranks] : holders) {
        const bool holds = std::ranges::equal(index, box, [](const auto& runs, const Run& run) {
            return std::ranges::any_of(
                runs, [&](const auto& held) { return held.first <= run.begin && run.end <= held.second; });
        });
        if (holds) found.insert(found.end(), ranks.begin(), ranks.end());
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::string printed_ranks(const std::vector<Rank>& ranks) {
    constexpr std::size_t kRanksShown = 8;
    std::string text = ranks.size() == 1 ? "rank" : "ranks";
    for (std::size_t i = 0; i < std::min(ranks.size(), kRanksShown); ++i)
        text += ' ' + std::to_string(ranks[i].value());
    if (ranks.size() > kRanksShown) text += " and " + std::to_string(ranks.size() - kRanksShown) + " more";
    return text;
}

std::vector<std::int64_t> first_of(const Box& box) {
    std::vector<std::int64_t> first;
    for (const Run& run : box) first.push_back(run.begin);
    return first;
}

// A shard that names an index of some dim twice.
void append_repeats(const ParamPlan& param, std::vector<CoverageFault>& faults) {
    const RankShards& shards = *param.placement.shards;
    for (std::size_t r = 0; r < shards.size(); ++r) {
        for (std::size_t dim = 0; dim < shards[r].size(); ++dim) {
            IndexRuns runs = shards[r][dim];
            std::ranges::sort(runs, {}, &Run::begin);
            for (std::size_t i = 1; i < runs.size(); ++i) {
                if (runs[i].begin >= runs[i - 1].end) continue;
                std::vector<std::int64_t> first;
                for (const IndexRuns& of_dim : shards[r]) first.push_back(of_dim.empty() ? 0 : of_dim.front().begin);
                first[dim] = runs[i].begin;
                faults.push_back({.param = param.parameter.name,
                                  .rank = Rank{static_cast<std::int64_t>(r)},
                                  .index = std::move(first),
                                  .why = "rank " + std::to_string(r) + " holds dim " + std::to_string(dim) + " index " +
                                         std::to_string(runs[i].begin) + " twice"});
                return;
            }
        }
    }
}

}  // namespace

std::string printed_index(const std::vector<IndexRuns>& index) {
    std::string text;
    for (const IndexRuns& runs : index) {
        if (runs.empty()) return "nothing";
        text += '[';
        for (std::size_t i = 0; i < runs.size(); ++i) {
            if (i > 0) text += '+';
            text += std::to_string(runs[i].begin) + ':' + std::to_string(runs[i].end);
        }
        text += ']';
    }
    return text;
}

std::vector<CoverageFault> shard_faults(const ParamPlan& param) {
    std::vector<CoverageFault> faults;
    append_repeats(param, faults);
    if (!faults.empty()) return faults;
    const Holders holders = distinct_shards(*param.placement.shards);
    Cells cells{param.parameter.shape, holders};
    for (const auto& [index, ranks] : holders) cells.add(index, static_cast<std::int64_t>(ranks.size()));

    // How often most elements are held: the rest is what is named.
    std::map<std::int64_t, std::int64_t> elements_held;  // by the number of holders
    for (std::size_t cell = 0; cell < cells.size(); ++cell)
        elements_held[cells.count(cell)] += elements_of(cells.box(cell));
    std::int64_t usual = 0;
    for (const auto& [count, elements] : elements_held) {
        if (count > 0 && (usual == 0 || elements > elements_held[usual])) usual = count;
    }
    std::int64_t elements_left = 0;
    for (std::size_t cell = 0; cell < cells.size(); ++cell) {
        if (cells.count(cell) == usual && usual > 0) continue;
        const Box box = cells.box(cell);
        if (faults.size() == kFaultsShown) {
            elements_left += elements_of(box);
            continue;
        }
        const std::vector<Rank> ranks = holders_of(holders, box);
        std::string why = printed_box(box) + " is held by ";
        why += ranks.empty() ? "no rank"
                             : printed_ranks(ranks) + " (" + std::to_string(ranks.size()) + "), most elements by " +
                                   std::to_string(usual);
        faults.push_back({.param = param.parameter.name,
                          .rank = ranks.empty() ? std::nullopt : std::optional{ranks.back()},
                          .index = first_of(box),
                          .why = std::move(why)});
    }
    if (elements_left > 0) faults.back().why += "; so it is with " + std::to_string(elements_left) + " elements more";
    return faults;
}

}  // namespace shardproof
