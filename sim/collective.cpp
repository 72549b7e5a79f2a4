#include "sim/collective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "oracle/model/error.hpp"
#include "sim/plan/rank_names.hpp"

namespace shardproof::sim {

namespace {

std::int64_t sum_of(std::span<const std::int64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

// What a call's buffers must measure, in elements, given its counts.
std::optional<std::string> own_fault(const CollectiveCall& call) {
    const std::size_t members = call.group->size();
    const auto elements = [&](std::size_t bytes) {
        return call.element_bytes == 0 ? 0 : static_cast<std::int64_t>(bytes / call.element_bytes);
    };
    const std::int64_t out = elements(call.send.size());
    const std::int64_t in = elements(call.receive.size());
    const bool wants_send_counts =
        call.kind == CollectiveKind::reduce_scatter || call.kind == CollectiveKind::all_to_all;
    const bool wants_receive_counts =
        call.kind == CollectiveKind::all_gather || call.kind == CollectiveKind::all_to_all;
    if (wants_send_counts && (call.send_counts.size() != members || sum_of(call.send_counts) != out))
        return "its send counts do not sum to its send buffer";
    if (wants_receive_counts && (call.receive_counts.size() != members || sum_of(call.receive_counts) != in))
        return "its receive counts do not sum to its receive buffer";
    if (call.kind == CollectiveKind::all_gather && call.receive_counts[call.group->my_idx()] != out)
        return "its send buffer is not its own receive count";
    if (call.kind == CollectiveKind::reduce_scatter && call.send_counts[call.group->my_idx()] != in)
        return "its receive buffer is not its own send count";
    if (call.kind == CollectiveKind::all_reduce && out != in) return "its buffers differ in size";
    return std::nullopt;
}

// Members often share one list.
bool same_counts(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
    return (a.data() == b.data() && a.size() == b.size()) || std::ranges::equal(a, b);
}

// Do two members' counts fit each other? Members a and b by group index.
bool counts_fit(const CollectiveCall& a, const CollectiveCall& b, std::size_t a_idx, std::size_t b_idx) {
    switch (a.kind) {
        case CollectiveKind::all_gather:
            return same_counts(a.receive_counts, b.receive_counts);
        case CollectiveKind::reduce_scatter:
            return same_counts(a.send_counts, b.send_counts);
        case CollectiveKind::all_reduce:
            return a.send.size() == b.send.size();
        case CollectiveKind::all_to_all:
            return a.send_counts[b_idx] == b.receive_counts[a_idx] && b.send_counts[a_idx] == a.receive_counts[b_idx];
        case CollectiveKind::broadcast:
            return a.receive.size() == b.receive.size();
        case CollectiveKind::barrier:
            return true;
        case CollectiveKind::send:
            return a.send.size() == b.receive.size();
        case CollectiveKind::receive:
            return a.receive.size() == b.send.size();
    }
    return false;
}

std::string counts_of(const CollectiveCall& call, std::size_t peer_idx) {
    if (call.kind == CollectiveKind::all_to_all)
        return fmt::format(" ({} elements to that peer, {} from it)", call.send_counts[peer_idx],
                           call.receive_counts[peer_idx]);
    return "";
}

template <class T>
void sum_into(std::span<const CollectiveCall* const> calls, std::int64_t begin, std::int64_t count, std::byte* target) {
    // Order of the group, first member first: the same bits whoever asks.
    std::vector<T> sum(static_cast<std::size_t>(count));
    std::memcpy(sum.data(), calls[0]->send.data() + begin * sizeof(T), sum.size() * sizeof(T));
    for (std::size_t m = 1; m < calls.size(); ++m) {
        const std::byte* from = calls[m]->send.data() + begin * sizeof(T);
        for (std::size_t i = 0; i < sum.size(); ++i) {
            T value;
            std::memcpy(&value, from + i * sizeof(T), sizeof(T));
            sum[i] += value;
        }
    }
    if (!sum.empty()) std::memcpy(target, sum.data(), sum.size() * sizeof(T));
}

void sum_slice(std::span<const CollectiveCall* const> calls, std::int64_t begin, std::int64_t count,
               std::byte* target) {
    if (count == 0) return;
    if (calls[0]->dtype == DType::I64) {
        sum_into<std::int64_t>(calls, begin, count, target);
    } else {
        SP_ASSERT(calls[0]->element_bytes == sizeof(float));
        sum_into<float>(calls, begin, count, target);
    }
}

void copy_bytes(std::byte* target, const std::byte* source, std::int64_t bytes) {
    if (bytes > 0) std::memcpy(target, source, static_cast<std::size_t>(bytes));
}

void gather_all(std::span<const CollectiveCall* const> calls) {
    // Joined once, then copied whole: members may be many and their pieces small.
    std::byte* target = calls[0]->receive.data();
    for (const CollectiveCall* from : calls) {
        copy_bytes(target, from->send.data(), from->send_bytes());
        target += from->send.size();
    }
    for (const CollectiveCall* to : calls.subspan(1))
        copy_bytes(to->receive.data(), calls[0]->receive.data(), to->receive_bytes());
}

void exchange_all(std::span<const CollectiveCall* const> calls) {
    const std::size_t n = calls.size();
    std::vector<std::int64_t> target_of(n, 0);  // bytes already filled of each member's receive buffer
    for (std::size_t from = 0; from < n; ++from) {
        std::int64_t source = 0;
        for (std::size_t to = 0; to < n; ++to) {
            const std::int64_t bytes =
                calls[from]->send_counts[to] * static_cast<std::int64_t>(calls[from]->element_bytes);
            copy_bytes(calls[to]->receive.data() + target_of[to], calls[from]->send.data() + source, bytes);
            source += bytes;
            target_of[to] += bytes;
        }
    }
}

}  // namespace

std::string_view name_of(CollectiveKind kind) {
    constexpr std::array<std::string_view, 8> names{"all_gather", "reduce_scatter", "all_reduce", "all_to_all",
                                                    "broadcast",  "barrier",        "send",       "receive"};
    return names.at(static_cast<std::size_t>(kind));
}

bool is_point_to_point(CollectiveKind kind) { return kind == CollectiveKind::send || kind == CollectiveKind::receive; }

Group::Group(std::string_view name, std::vector<Rank> ranks, Rank me) : name_{name}, ranks_{std::move(ranks)} {
    const auto found = std::ranges::find(ranks_, me);
    SP_ASSERT(found != ranks_.end());
    my_idx_ = static_cast<std::size_t>(found - ranks_.begin());
    key_ = 0xcbf29ce484222325U;  // FNV-1a over the ranks
    for (const Rank rank : ranks_) key_ = (key_ ^ static_cast<std::uint64_t>(rank.value())) * 0x100000001b3U;
}

std::string to_string(const CollectiveCall& call) {
    if (is_point_to_point(call.kind)) {
        const bool sends = call.kind == CollectiveKind::send;
        return fmt::format("{}({}, {} bytes) {} rank {}: {}", name_of(call.kind), name_of(call.dtype),
                           sends ? call.send_bytes() : call.receive_bytes(), sends ? "to" : "from", call.peer.value(),
                           call.what);
    }
    return fmt::format("{}({}, {} bytes out, {} in) on {} {}: {}", name_of(call.kind), name_of(call.dtype),
                       call.send_bytes(), call.receive_bytes(), call.group->name(), group_text(call.group->ranks()),
                       call.what);
}

std::optional<std::string> disagreement(std::span<const CollectiveCall* const> calls) {
    const auto rank_of = [&](std::size_t i) {
        return is_point_to_point(calls[i]->kind) ? calls[1 - i]->peer.value() : calls[i]->group->ranks()[i].value();
    };
    const auto differ = [&](std::size_t a, std::size_t b, std::string_view how) {
        return fmt::format("{} differ: rank {} calls {}{}, rank {} calls {}{}", how, rank_of(a), to_string(*calls[a]),
                           how == "counts" ? counts_of(*calls[a], b) : "", rank_of(b), to_string(*calls[b]),
                           how == "counts" ? counts_of(*calls[b], a) : "");
    };
    const bool pair = is_point_to_point(calls[0]->kind);
    for (std::size_t i = 1; i < calls.size(); ++i) {
        if (!pair && calls[i]->kind != calls[0]->kind) return differ(0, i, "kinds");
        if (calls[i]->dtype != calls[0]->dtype || calls[i]->element_bytes != calls[0]->element_bytes)
            return differ(0, i, "dtypes");
        if (calls[i]->what != calls[0]->what) return differ(0, i, "purposes");
        if (calls[i]->root_idx != calls[0]->root_idx) return differ(0, i, "roots");
    }
    for (std::size_t i = 0; i < calls.size() && !pair; ++i) {
        if (const auto fault = own_fault(*calls[i]))
            return fmt::format("rank {} calls {}: {}", rank_of(i), to_string(*calls[i]), *fault);
    }
    const bool pairwise = calls[0]->kind == CollectiveKind::all_to_all;
    for (std::size_t a = 0; a < (pairwise ? calls.size() : 1); ++a) {
        for (std::size_t b = a + 1; b < calls.size(); ++b) {
            if (!counts_fit(*calls[a], *calls[b], a, b)) return differ(a, b, "counts");
        }
    }
    return std::nullopt;
}

void perform(std::span<const CollectiveCall* const> calls) {
    const CollectiveCall& first = *calls[0];
    const auto width = static_cast<std::int64_t>(first.element_bytes);
    switch (first.kind) {
        case CollectiveKind::all_gather:
            gather_all(calls);
            return;
        case CollectiveKind::all_to_all:
            exchange_all(calls);
            return;
        case CollectiveKind::reduce_scatter: {
            std::int64_t begin = 0;
            for (std::size_t m = 0; m < calls.size(); ++m) {
                sum_slice(calls, begin, first.send_counts[m], calls[m]->receive.data());
                begin += first.send_counts[m];
            }
            return;
        }
        case CollectiveKind::all_reduce: {
            // A caller may reduce in place, so all sums are taken before any is handed out.
            std::vector<std::byte> sum(first.send.size());
            sum_slice(calls, 0, first.send_bytes() / std::max<std::int64_t>(width, 1), sum.data());
            for (const CollectiveCall* call : calls)
                copy_bytes(call->receive.data(), sum.data(), static_cast<std::int64_t>(sum.size()));
            return;
        }
        case CollectiveKind::broadcast:
            for (const CollectiveCall* call : calls)
                copy_bytes(call->receive.data(), calls[first.root_idx]->send.data(), call->receive_bytes());
            return;
        case CollectiveKind::barrier:
            return;
        case CollectiveKind::send:
            copy_bytes(calls[1]->receive.data(), first.send.data(), first.send_bytes());
            return;
        case CollectiveKind::receive:
            copy_bytes(first.receive.data(), calls[1]->send.data(), first.receive_bytes());
            return;
    }
}

}  // namespace shardproof::sim
