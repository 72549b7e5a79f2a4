#include "gpu/transport/call_history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "sim/plan/rank_names.hpp"

namespace shardproof::gpu {
namespace {

// FNV-1a: the same in every process and build.
std::uint64_t mix(std::uint64_t hash, std::string_view text) {
    for (const char letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
    return hash;
}

std::uint64_t mix(std::uint64_t hash, std::int64_t value) {
    for (int shift = 0; shift < 64; shift += 8)
        hash = (hash ^ (static_cast<std::uint64_t>(value) >> shift & 0xFFU)) * 0x100000001b3U;
    return hash;
}

std::uint64_t mix(std::uint64_t hash, const DeviceCall& call) {
    hash = mix(hash, static_cast<std::int64_t>(call.kind));
    hash = mix(hash, static_cast<std::int64_t>(call.dtype));
    hash = mix(hash, static_cast<std::int64_t>(call.root_idx));
    hash = mix(hash, call.what);
    switch (call.kind) {
        case CollectiveKind::all_gather:
        case CollectiveKind::reduce_scatter:
            for (const std::int64_t count : call.counts) hash = mix(hash, count);
            return hash;
        case CollectiveKind::all_reduce:
        case CollectiveKind::broadcast:
            return mix(hash, std::accumulate(call.counts.begin(), call.counts.end(), std::int64_t{0}));
        case CollectiveKind::all_to_all:
        case CollectiveKind::barrier:
            return hash;
    }
    return hash;
}

}  // namespace

void CallHistory::add(std::span<const DeviceCall> calls) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const DeviceCall& call = calls[i];
        const auto same_group = [&](const DeviceCall& other) { return other.group->ranks == call.group->ranks; };
        if (call.group->size() == 1 || std::ranges::any_of(calls.first(i), same_group)) continue;
        const auto [found, added] = idx_of_.try_emplace(call.group->ranks, claims_.size());
        if (added)
            claims_.push_back(
                {.key = prefix_ + all_ranks(call.group->ranks), .number = 0, .hash = 0xcbf29ce484222325U, .text = {}});
        StoreClaim& claim = claims_[found->second];
        ++claim.number;
        claim.hash = mix(claim.hash, call);
        claim.text = fmt::format("rank {} calls {}", call.rank.value(), to_string(call));
    }
}

}  // namespace shardproof::gpu
