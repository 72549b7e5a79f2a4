// Collective: what a rank asks of its peers, whether the peers ask the same, and the movement itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/ids.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::sim {

enum class CollectiveKind : std::uint8_t {
    all_gather,      // each gives its counts[me], all get all, in group order
    reduce_scatter,  // each gives sum(counts), member i gets the sum of slice i
    all_reduce,      // each gives and gets the same count
    all_to_all,      // send_counts[j] to member j, receive_counts[j] from it
    broadcast,       // from group member root_idx
    barrier,
    send,            // point to point, to `peer`
    receive,         // point to point, from `peer`
};
[[nodiscard]] std::string_view name_of(CollectiveKind kind);
[[nodiscard]] bool is_point_to_point(CollectiveKind kind);  // send or receive

// The ranks of one mesh axis group, in coordinate order, as the calling rank sees them.
class Group {
public:
    Group() = default;
    Group(std::string_view name, std::vector<Rank> ranks, Rank me);  // SP_ASSERT: `me` is one of the ranks
    [[nodiscard]] std::string_view name() const { return name_; }    // "tp", "ep", ...
    [[nodiscard]] const std::vector<Rank>& ranks() const { return ranks_; }
    [[nodiscard]] std::size_t my_idx() const { return my_idx_; }
    [[nodiscard]] std::size_t size() const { return ranks_.size(); }
    [[nodiscard]] std::uint64_t key() const { return key_; }         // equal for equal rank lists

private:
    std::string_view name_;
    std::vector<Rank> ranks_;
    std::size_t my_idx_ = 0;
    std::uint64_t key_ = 0;
};

// One rank's side of one collective. Buffers and counts belong to the caller, who is suspended until it is done. Counts
// are in elements of element_bytes; `dtype` is what travels: f32 storage of bf16 arithmetic travels as BF16.
struct CollectiveCall {
    CollectiveKind kind{};
    const Group* group = nullptr;
    DType dtype{};
    std::size_t element_bytes = 0;
    std::span<const std::byte> send;
    std::span<std::byte> receive;
    std::span<const std::int64_t> send_counts;  // one a member: reduce_scatter, all_to_all
    std::span<const std::int64_t> receive_counts;  // one a member: all_gather, all_to_all
    std::size_t root_idx = 0;
    Rank peer;  // send, receive
    std::string_view what;  // for reports: "dispatch rows"

    [[nodiscard]] std::int64_t send_bytes() const { return static_cast<std::int64_t>(send.size()); }
    [[nodiscard]] std::int64_t receive_bytes() const { return static_cast<std::int64_t>(receive.size()); }
};
[[nodiscard]] std::string to_string(const CollectiveCall& call);  // "all_to_all(F32, 48 bytes out, 32 in) on ep [0,1]"

// The calls of all members of a group, in group order. nullopt when they agree in kind, dtype, root and counts; else
// one line that names the ranks and what each asked for.
[[nodiscard]] std::optional<std::string> disagreement(std::span<const CollectiveCall* const> calls);

// Moves and sums. The calls agree. Sums run in group order in f32 (F32 storage) or exactly (I64).
void perform(std::span<const CollectiveCall* const> calls);

}  // namespace shardproof::sim
