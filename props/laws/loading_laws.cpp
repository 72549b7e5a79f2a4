#include "props/laws/loading_laws.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/memory.hpp"

namespace shardproof::props::loading {

namespace {

// The checkpoint with 0xFF for every byte that `ranges` does not name, headers included: they are not read again.
Checkpoint masked(const Checkpoint& checkpoint, const std::vector<ByteRange>& ranges) {
    return checkpoint.with_sources([&](const std::shared_ptr<const ByteSource>& source) {
        std::vector<std::byte> bytes(source->bytes().size(), std::byte{0xFF});
        for (const ByteRange& range : ranges) {
            const Checkpoint::Item& item = checkpoint.items().find(range.tensor)->second;
            if (checkpoint.files()[item.file_idx].shared_source() != source) continue;
            const auto begin = static_cast<std::int64_t>(item.entry->begin) + range.begin;
            std::copy_n(source->bytes().begin() + begin, range.end - range.begin, bytes.begin() + begin);
        }
        return own_bytes(std::move(bytes), source->name());
    });
}

bool same_tensors(const Checkpoint& a, const Checkpoint& b) {
    return std::ranges::all_of(a.items(), [&](const auto& named) {
        return std::ranges::equal(a.tensor(named.first).bytes, b.tensor(named.first).bytes);
    });
}

}  // namespace

std::optional<std::string> writes_every_byte(Subject& subject) {
    const sim::LoadReport& load = subject.report().load;
    if (load.poison_left > 0) return fmt::format("{} elements were never written", load.poison_left);
    if (load.bytes_read != load.bytes_planned)
        return fmt::format("{} bytes were read where the shards have {}", load.bytes_read, load.bytes_planned);
    return std::nullopt;
}

std::optional<std::string> right_bytes(Subject& subject) {
    const CheckReport& report = subject.report();
    if (report.load.poison_left > 0) return subject.nothing_to_look_at();  // another law's
    if (report.load_ok) return std::nullopt;
    if (!report.failure) return "the load is judged wrong without a reason";
    const Mismatch& m = *report.failure;
    return fmt::format("{} on rank {}, element [{}]: {}", m.layer, m.rank.value(), fmt::join(m.coordinate, ","), m.why);
}

std::optional<std::string> reads_only_planned_bytes(Subject& subject) {
    const Plan& plan = subject.plan();
    const Checkpoint& checkpoint = subject.loaded_model().checkpoint;
    const Rank rank{
        static_cast<std::int64_t>(subject.c().scheduler_seed % static_cast<std::uint64_t>(plan.dims.world()))};
    std::vector<ByteRange> ranges;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const std::vector<ByteRange> more = byte_ranges(make_load_plan(plan, p, rank));
        ranges.insert(ranges.end(), more.begin(), more.end());
    }
    const Checkpoint only_planned = masked(checkpoint, ranges);
    if (same_tensors(checkpoint, only_planned)) return subject.nothing_to_look_at();  // the rank reads all of it
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        sim::LoadReport ignored;
        const sim::HeldParam all = sim::load_param(plan, checkpoint, p, rank, subject.faults(), ignored);
        const sim::HeldParam planned = sim::load_param(plan, only_planned, p, rank, subject.faults(), ignored);
        if (all.bytes != planned.bytes)
            return fmt::format("{} on rank {} reads bytes that its plan does not name", plan.params[p].parameter.name,
                               rank.value());
    }
    return std::nullopt;
}

}  // namespace shardproof::props::loading
