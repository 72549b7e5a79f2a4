// DeviceCall: one rank's side of one collective on device memory. The words are those of the virtual ranks.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/ids.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::gpu {

enum class CollectiveKind : std::uint8_t {
    all_gather,      // each gives its counts[me], all get all, in group order
    reduce_scatter,  // each gives sum(counts), member i gets the sum of slice i
    all_reduce,      // each gives and gets sum(counts) elements, counts having one entry
    all_to_all,      // counts[j] to member j, receive_counts[j] from it
    broadcast,       // sum(counts) elements from member root_idx
    barrier,         // moves nothing
};
[[nodiscard]] std::string_view name_of(CollectiveKind kind);

// The ranks of one mesh axis group in coordinate order.
struct RankGroup {
    std::string axis;          // "tp", "ep", ...
    std::vector<Rank> ranks;
    [[nodiscard]] std::size_t size() const { return ranks.size(); }
    [[nodiscard]] std::size_t idx_of(Rank rank) const;  // SP_ASSERT: a member
};

// Sums of I64 are exact. Sums of F32 are taken in f32, in an order of the transport's own. Sums of BF16 are taken in
// f32 and rounded once over loopback, but rounded to BF16 at each step over NCCL: send partial sums as F32.
struct DeviceCall {
    CollectiveKind kind{};
    const RankGroup* group = nullptr;  // outlives the call's completion
    Rank rank;                         // the member that calls; one of this process's ranks
    DType dtype{};                     // F32, BF16, F16, I32, I64 or U8
    const void* send = nullptr;        // device memory; may be nullptr where nothing is sent
    void* receive = nullptr;           // never overlaps send, except in all_reduce, where it may be equal
    std::vector<std::int64_t> counts;          // elements; see CollectiveKind
    std::vector<std::int64_t> receive_counts;  // all_to_all only
    std::size_t root_idx = 0;          // broadcast
    std::string_view what;             // for reports: "dispatch rows"

    [[nodiscard]] std::int64_t send_bytes() const;
    [[nodiscard]] std::int64_t receive_bytes() const;
};
[[nodiscard]] std::string to_string(const DeviceCall& call);  // "all_to_all(F32, 48 bytes out, 32 in) on ep [0,1]"

// nullopt when the calls of one group's members agree in kind, dtype, root and counts; else one line that names the
// ranks and what each asked for. `calls` may be those of some members only: what they can contradict is compared.
[[nodiscard]] std::optional<std::string> disagreement(std::span<const DeviceCall* const> calls);

}  // namespace shardproof::gpu
