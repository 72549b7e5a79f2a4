#include "gpu/transport/collective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "oracle/model/error.hpp"
#include "sim/plan/rank_names.hpp"

namespace shardproof::gpu {
namespace {

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

std::int64_t bytes_of(std::int64_t elements, DType dtype) { return elements * bits_of(dtype) / 8; }

// The count at a member's place; 0 where a call has too few, which own_fault() reports.
std::int64_t count_at(const std::vector<std::int64_t>& counts, std::size_t idx) {
    return idx < counts.size() ? counts[idx] : 0;
}

// What a call contradicts by itself.
std::optional<std::string> own_fault(const DeviceCall& call) {
    const std::size_t members = call.group->size();
    const bool one_a_member = call.kind == CollectiveKind::all_gather || call.kind == CollectiveKind::reduce_scatter ||
                              call.kind == CollectiveKind::all_to_all;
    if (one_a_member && call.counts.size() != members) return "it has not one count a member";
    if (call.kind == CollectiveKind::all_to_all && call.receive_counts.size() != members)
        return "it has not one receive count a member";
    if (call.kind == CollectiveKind::broadcast && call.root_idx >= members) return "its root is no member";
    const auto negative = [](std::int64_t count) { return count < 0; };
    if (std::ranges::any_of(call.counts, negative) || std::ranges::any_of(call.receive_counts, negative))
        return "it has a negative count";
    if (call.kind == CollectiveKind::all_to_all) {
        const std::size_t me = call.group->idx_of(call.rank);
        if (call.counts[me] != call.receive_counts[me]) return "its counts to and from itself differ";
    }
    if ((call.send_bytes() > 0 && call.send == nullptr) || (call.receive_bytes() > 0 && call.receive == nullptr))
        return "it has bytes to move and no buffer";
    return std::nullopt;
}

// Do two members' counts fit each other?
bool counts_fit(const DeviceCall& a, const DeviceCall& b) {
    const std::size_t a_idx = a.group->idx_of(a.rank);
    const std::size_t b_idx = b.group->idx_of(b.rank);
    switch (a.kind) {
        case CollectiveKind::all_gather:
        case CollectiveKind::reduce_scatter:
            return a.counts == b.counts;
        case CollectiveKind::all_to_all:
            return a.counts[b_idx] == b.receive_counts[a_idx] && b.counts[a_idx] == a.receive_counts[b_idx];
        case CollectiveKind::all_reduce:
        case CollectiveKind::broadcast:
            return sum_of(a.counts) == sum_of(b.counts);
        case CollectiveKind::barrier:
            return true;
    }
    return false;
}

std::string counts_of(const DeviceCall& call, std::size_t peer_idx) {
    if (call.kind != CollectiveKind::all_to_all) return "";
    return fmt::format(" ({} elements to that peer, {} from it)", count_at(call.counts, peer_idx),
                       count_at(call.receive_counts, peer_idx));
}

std::string differ(std::string_view how, const DeviceCall& a, const DeviceCall& b) {
    const bool counts = how == "counts";
    return fmt::format("{} differ: rank {} calls {}{}, rank {} calls {}{}", how, a.rank.value(), to_string(a),
                       counts ? counts_of(a, b.group->idx_of(b.rank)) : "", b.rank.value(), to_string(b),
                       counts ? counts_of(b, a.group->idx_of(a.rank)) : "");
}

}  // namespace

std::string_view name_of(CollectiveKind kind) {
    constexpr std::array<std::string_view, 6> names{"all_gather", "reduce_scatter", "all_reduce",
                                                    "all_to_all", "broadcast",      "barrier"};
    return names.at(static_cast<std::size_t>(kind));
}

std::size_t RankGroup::idx_of(Rank rank) const {
    const auto found = std::ranges::find(ranks, rank);
    SP_ASSERT(found != ranks.end());
    return static_cast<std::size_t>(found - ranks.begin());
}

std::int64_t DeviceCall::send_bytes() const {
    switch (kind) {
        case CollectiveKind::all_gather:
            return bytes_of(count_at(counts, group->idx_of(rank)), dtype);
        case CollectiveKind::reduce_scatter:
        case CollectiveKind::all_reduce:
        case CollectiveKind::all_to_all:
            return bytes_of(sum_of(counts), dtype);
        case CollectiveKind::broadcast:
            return group->idx_of(rank) == root_idx ? bytes_of(sum_of(counts), dtype) : 0;
        case CollectiveKind::barrier:
            return 0;
    }
    return 0;
}

std::int64_t DeviceCall::receive_bytes() const {
    switch (kind) {
        case CollectiveKind::reduce_scatter:
            return bytes_of(count_at(counts, group->idx_of(rank)), dtype);
        case CollectiveKind::all_gather:
        case CollectiveKind::all_reduce:
        case CollectiveKind::broadcast:
            return bytes_of(sum_of(counts), dtype);
        case CollectiveKind::all_to_all:
            return bytes_of(sum_of(receive_counts), dtype);
        case CollectiveKind::barrier:
            return 0;
    }
    return 0;
}

std::string to_string(const DeviceCall& call) {
    return fmt::format("{}({}, {} bytes out, {} in) on {} {}{}{}", name_of(call.kind), name_of(call.dtype),
                       call.send_bytes(), call.receive_bytes(), call.group->axis, group_text(call.group->ranks),
                       call.what.empty() ? "" : ": ", call.what);
}

std::optional<std::string> disagreement(std::span<const DeviceCall* const> calls) {
    for (const DeviceCall* call : calls) {
        const DeviceCall& first = *calls[0];
        if (call->kind != first.kind) return differ("kinds", first, *call);
        if (call->dtype != first.dtype) return differ("dtypes", first, *call);
        if (call->what != first.what) return differ("purposes", first, *call);
        if (call->root_idx != first.root_idx) return differ("roots", first, *call);
    }
    for (const DeviceCall* call : calls) {
        if (const auto fault = own_fault(*call))
            return fmt::format("rank {} calls {}: {}", call->rank.value(), to_string(*call), *fault);
    }
    const bool pairwise = !calls.empty() && calls[0]->kind == CollectiveKind::all_to_all;
    for (std::size_t a = 0; a < (pairwise ? calls.size() : 1); ++a) {
        for (std::size_t b = a + 1; b < calls.size(); ++b) {
            if (!counts_fit(*calls[a], *calls[b])) return differ("counts", *calls[a], *calls[b]);
        }
    }
    return std::nullopt;
}

}  // namespace shardproof::gpu
