#include "sim/verify/locate.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

constexpr std::size_t kOriginsMax = 64;
constexpr std::int64_t kBlockLines = 64;
constexpr std::size_t kBlocks = 8;

Origin moved(Origin origin, std::int64_t by) {
    origin.line += by;
    return origin;
}

// The origins whose line `by` further on is this one: by hash where that is known, else by content, where half of the
// elements suffice.
std::vector<Origin> going_on(const std::vector<Origin>& origins, std::int64_t by, std::span<const Value> line,
                             const Lookup& lookup) {
    std::vector<Origin> kept;
    if (lookup.can_find(line)) {
        const std::vector<Origin> hits = lookup.find(line);
        for (const Origin& origin : origins) {
            if (std::ranges::find(hits, moved(origin, by)) != hits.end()) kept.push_back(origin);
        }
        if (!kept.empty() || !hits.empty()) return kept;
    }
    for (const Origin& origin : origins) {
        const std::span<const Value> there = lookup.line_at(moved(origin, by));
        if (there.size() == line.size() && 2 * num_equal(there, line) >= std::ssize(line)) kept.push_back(origin);
    }
    return kept;
}

}  // namespace

std::int64_t num_equal(std::span<const Value> a, std::span<const Value> b) {
    SP_ASSERT(a.size() == b.size());
    std::int64_t count = 0;
    for (std::size_t i = 0; i < a.size(); ++i) count += a[i] == b[i] ? 1 : 0;
    return count;
}

void Lookup::add_own(const LineArray& planned, const Held& held, std::size_t cut) {
    std::int64_t i = 0;
    for (const LineRun& run : held.lines) {
        for (std::int64_t k = 0; k < run.count; ++k, ++i) {
            const std::span<const Value> line = planned.line(i);
            if (!is_constant(line)) own_.emplace_back(hash_of(line), Origin{run.param, cut, run.first + k});
        }
    }
    std::ranges::stable_sort(own_, {}, &std::pair<std::uint64_t, Origin>::first);
}

bool Lookup::can_find(std::span<const Value> line) const {
    return !is_constant(line) && (index_ == nullptr || index_->stride() == 1 || hash_of(line) % index_->stride() == 0);
}

std::vector<Origin> Lookup::find(std::span<const Value> line) const {
    std::vector<Origin> found;
    if (is_constant(line)) return found;
    const std::uint64_t hash = hash_of(line);
    auto own = std::ranges::lower_bound(own_, hash, {}, &std::pair<std::uint64_t, Origin>::first);
    for (; own != own_.end() && own->first == hash; ++own) found.push_back(own->second);
    if (index_ != nullptr) {
        for (const Origin& origin : index_->find(hash)) {
            if (std::ranges::find(found, origin) == found.end()) found.push_back(origin);
        }
    }
    if (found.size() > kOriginsMax) found.clear();
    return found;
}

std::span<const Value> Lookup::line_at(const Origin& origin) const {
    if (origin.line < 0) return {};
    for (const Block& block : blocks_) {
        const std::int64_t at = origin.line - block.first.line;
        if (block.first.param == origin.param && block.first.cut == origin.cut && at >= 0 && at < block.lines.size())
            return block.lines.line(at);
    }
    const IndexRuns& columns = (*cuts_)[origin.param][origin.cut];
    const std::int64_t first = origin.line / kBlockLines * kBlockLines;
    Block block{moved(origin, first - origin.line), {num_indices(columns), {}}};
    block.lines.values = reader_.read_some(origin.param, first, kBlockLines, columns);
    if (origin.line - first >= block.lines.size()) return {};
    if (blocks_.size() < kBlocks) {
        blocks_.push_back(std::move(block));
        return blocks_.back().lines.line(origin.line - first);
    }
    next_block_ = (next_block_ + 1) % kBlocks;
    blocks_[next_block_] = std::move(block);
    return blocks_[next_block_].lines.line(origin.line - first);
}

std::vector<PlacedRun> place_lines(const LineArray& found, const std::vector<bool>& open, const Lookup& lookup) {
    std::vector<PlacedRun> runs;
    std::int64_t placed_until = 0;
    const auto is_open = [&](std::int64_t i) { return open[static_cast<std::size_t>(i)]; };
    for (std::int64_t i = 0; i < found.size(); ++i) {
        if (!is_open(i)) continue;
        PlacedRun run{i, 1, lookup.find(found.line(i))};
        if (run.origins.empty()) continue;
        while (i + 1 < found.size() && is_open(i + 1)) {
            std::vector<Origin> kept = going_on(run.origins, run.count, found.line(i + 1), lookup);
            if (kept.empty()) break;
            run.origins = std::move(kept);
            ++run.count;
            ++i;
        }
        while (run.begin > placed_until && is_open(run.begin - 1)) {
            std::vector<Origin> kept = going_on(run.origins, -1, found.line(run.begin - 1), lookup);
            if (kept.empty()) break;
            for (Origin& origin : kept) --origin.line;
            run.origins = std::move(kept);
            --run.begin;
            ++run.count;
        }
        placed_until = run.begin + run.count;
        runs.push_back(std::move(run));
    }
    return runs;
}

}  // namespace shardproof::verify
