#include "gpu/dispatchers/send_receive.hpp"

#include <algorithm>
#include <numeric>

#include "gpu/kernels/dispatch.cuh"
#include "gpu/kernels/rows.cuh"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

// What one local rank holds while rows travel.
struct Room {
    std::int64_t me = 0;                        // place in the group
    std::vector<std::int64_t> held;             // experts of each peer
    std::int64_t capacity = 0;                  // rows that may arrive
    DeviceArray<std::int32_t> arriving;         // [peers, locals] rows of each of my experts from each peer
    DeviceArray<std::int32_t> expert_begin;     // [locals+1]
    DeviceArray<std::int32_t> arrival_row;      // [capacity]
    DeviceBytes raw;                            // [capacity, D] in order of arrival, then of return
    DeviceBytes sorted;                         // [capacity, D] expert-major
    DeviceBytes worked;                         // [capacity, D]
    DeviceBytes returned;                       // [n*K, D]
    PinnedBytes counts;                         // rows_at, then arriving, on the host
    std::vector<std::int64_t> rows_to;          // [peers]
    std::vector<std::int64_t> rows_from;        // [peers]
};

class SendReceive final : public Dispatcher {
public:
    SendReceive(Ledger& ledger, std::span<const LocalRank> ranks) : ledger_{ledger}, ranks_{ranks} {}
    void prepare(std::span<RankDispatch> parts, const DispatchShape& shape) override;
    void dispatch(std::span<RankDispatch> parts) override;
    void combine(std::span<RankDispatch> parts) override;

private:
    void prepare_one(RankDispatch& part, Room& room);
    // An all-to-all of one rank; counts are in elements, one a peer.
    [[nodiscard]] DeviceCall call_of(const RankDispatch& part, DType dtype, std::string_view what, const void* send,
                                     void* receive) const;
    [[nodiscard]] std::vector<std::int64_t> elements(std::vector<std::int64_t> rows) const {
        for (std::int64_t& count : rows) count *= shape_.hidden;
        return rows;
    }
    void exchange_counts(std::span<RankDispatch> parts);
    void exchange_rows(std::span<RankDispatch> parts);
    [[nodiscard]] const LocalRank& local(const RankDispatch& part) const { return ranks_[part.local_idx]; }
    [[nodiscard]] Matrix rows(const DeviceBytes& bytes, std::int64_t count) const {
        return {.data = bytes.data(), .rows = count, .cols = shape_.hidden, .arithmetic = shape_.arithmetic};
    }
    [[nodiscard]] DType travels_as() const { return shape_.arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16; }

    Ledger& ledger_;
    std::span<const LocalRank> ranks_;
    DispatchShape shape_;
    std::vector<Room> rooms_;  // one a local rank
};

void SendReceive::prepare(std::span<RankDispatch> parts, const DispatchShape& shape) {
    shape_ = shape;
    rooms_.resize(ranks_.size());
    for (RankDispatch& part : parts) {
        const DeviceScope scope{local(part).device};
        prepare_one(part, rooms_[part.local_idx]);
    }
}

void SendReceive::prepare_one(RankDispatch& part, Room& room) {
    const StreamView stream = local(part).stream;
    const std::int64_t row_bytes = shape_.hidden * element_bytes(shape_.arithmetic);
    const std::int64_t num_choices = part.num_rows * shape_.top_k;
    const auto reserve = [&](DeviceBytes& bytes, std::int64_t num_rows) {
        bytes.reserve(num_rows * row_bytes);
        bytes.poison(stream);
    };
    if (part.group->size() == 1) {
        reserve(room.worked, num_choices);
        part.worked = rows(room.worked, num_choices);
        return;
    }
    SP_ASSERT(static_cast<std::int64_t>(part.group->size()) == shape_.experts->num_peers);
    room.me = static_cast<std::int64_t>(part.group->idx_of(local(part).rank));
    room.held.clear();
    for (const auto& experts : shape_.experts->held) room.held.push_back(static_cast<std::int64_t>(experts.size()));
    const std::int64_t locals = room.held[static_cast<std::size_t>(room.me)];
    std::int64_t rows_of_group = 0;
    for (const Rank member : part.group->ranks) rows_of_group += shape_.rows_of_rank[member.idx()];
    room.capacity = rows_of_group * std::min(shape_.top_k, locals);
    room.arriving.reserve(std::max<std::int64_t>(1, shape_.experts->num_peers * locals));
    room.expert_begin.reserve(locals + 1);
    room.arrival_row.reserve(std::max<std::int64_t>(1, room.capacity));
    room.arriving.poison(stream);
    room.expert_begin.poison(stream);
    room.arrival_row.poison(stream);
    reserve(room.raw, room.capacity);
    reserve(room.sorted, room.capacity);
    reserve(room.worked, room.capacity);
    reserve(room.returned, num_choices);
    const auto num_experts = static_cast<std::int64_t>(shape_.experts->home.size());
    room.counts.reserve((num_experts + shape_.experts->num_peers * locals) *
                        static_cast<std::int64_t>(sizeof(std::int32_t)));
    part.arrived = rows(room.sorted, room.capacity);
    part.worked = rows(room.worked, room.capacity);
    part.returned = rows(room.returned, num_choices);
    part.expert_begin = room.expert_begin.data();
}

DeviceCall SendReceive::call_of(const RankDispatch& part, DType dtype, std::string_view what, const void* send,
                                void* receive) const {
    DeviceCall call;
    call.kind = CollectiveKind::all_to_all;
    call.group = part.group;
    call.rank = local(part).rank;
    call.dtype = dtype;
    call.send = send;
    call.receive = receive;
    call.what = what;
    return call;
}

void SendReceive::exchange_counts(std::span<RankDispatch> parts) {
    std::vector<DeviceCall> calls;
    for (const RankDispatch& part : parts) {
        if (part.group->size() == 1) continue;
        Room& room = rooms_[part.local_idx];
        DeviceCall& call =
            calls.emplace_back(call_of(part, DType::I32, "rows of each expert", part.rows_at, room.arriving.data()));
        call.counts = room.held;
        call.receive_counts.assign(part.group->size(), room.held[static_cast<std::size_t>(room.me)]);
    }
    if (calls.empty()) return;
    ledger_.enqueue(std::move(calls));
    for (const RankDispatch& part : parts) {
        if (part.group->size() == 1) continue;
        const DeviceScope scope{local(part).device};
        Room& room = rooms_[part.local_idx];
        const auto num_experts = shape_.experts->home.size();
        const auto num_arriving =
            room.held.size() * static_cast<std::size_t>(room.held[static_cast<std::size_t>(room.me)]);
        const std::span<std::byte> host = room.counts.bytes();
        download(part.rows_at, host.first(num_experts * sizeof(std::int32_t)), local(part).stream);
        download(room.arriving.data(),
                 host.subspan(num_experts * sizeof(std::int32_t), num_arriving * sizeof(std::int32_t)),
                 local(part).stream);
    }
    ledger_.wait();
    for (const RankDispatch& part : parts) {
        if (part.group->size() == 1) continue;
        Room& room = rooms_[part.local_idx];
        const auto* count = reinterpret_cast<const std::int32_t*>(room.counts.bytes().data());
        const auto sums = [&count](const std::vector<std::int64_t>& lengths) {
            std::vector<std::int64_t> result;
            for (const std::int64_t length : lengths) {
                result.push_back(std::accumulate(count, count + length, std::int64_t{0}));
                count += length;
            }
            return result;
        };
        room.rows_to = sums(room.held);
        room.rows_from =
            sums(std::vector<std::int64_t>(room.held.size(), room.held[static_cast<std::size_t>(room.me)]));
    }
}

void SendReceive::exchange_rows(std::span<RankDispatch> parts) {
    std::vector<DeviceCall> calls;
    for (const RankDispatch& part : parts) {
        if (part.group->size() == 1) continue;
        const Room& room = rooms_[part.local_idx];
        DeviceCall& call = calls.emplace_back(call_of(part, travels_as(), "dispatch", part.send.data, room.raw.data()));
        call.counts = elements(room.rows_to);
        call.receive_counts = elements(room.rows_from);
    }
    if (!calls.empty()) ledger_.enqueue(std::move(calls));
}

void SendReceive::dispatch(std::span<RankDispatch> parts) {
    exchange_counts(parts);
    exchange_rows(parts);
    for (RankDispatch& part : parts) {
        if (part.group->size() == 1) {
            part.arrived = {.data = const_cast<void*>(part.send.data),
                            .rows = part.send.rows,
                            .cols = part.send.cols,
                            .arithmetic = part.send.arithmetic};
            part.expert_begin = part.begin_at;
            continue;
        }
        const DeviceScope scope{local(part).device};
        Room& room = rooms_[part.local_idx];
        const std::int64_t locals = room.held[static_cast<std::size_t>(room.me)];
        plan_arrival_on_device(room.arriving.data(), shape_.experts->num_peers, locals, room.expert_begin.data(),
                               room.arrival_row.data(), room.capacity, local(part).stream);
        gather_rows(rows(room.raw, room.capacity), room.arrival_row.data(), room.expert_begin.data() + locals,
                    part.arrived, local(part).stream);
    }
}

void SendReceive::combine(std::span<RankDispatch> parts) {
    std::vector<DeviceCall> calls;
    for (RankDispatch& part : parts) {
        if (part.group->size() == 1) {
            part.returned = part.worked;
            continue;
        }
        const DeviceScope scope{local(part).device};
        Room& room = rooms_[part.local_idx];
        const std::int64_t locals = room.held[static_cast<std::size_t>(room.me)];
        scatter_rows(part.worked, room.arrival_row.data(), room.expert_begin.data() + locals,
                     rows(room.raw, room.capacity), local(part).stream);
        DeviceCall& call =
            calls.emplace_back(call_of(part, travels_as(), "combine", room.raw.data(), room.returned.data()));
        call.counts = elements(room.rows_from);
        call.receive_counts = elements(room.rows_to);
    }
    if (!calls.empty()) ledger_.enqueue(std::move(calls));
}

}  // namespace

std::unique_ptr<Dispatcher> make_send_receive(Transport&, Ledger& ledger, std::span<const LocalRank> ranks) {
    return std::make_unique<SendReceive>(ledger, ranks);
}

}  // namespace shardproof::gpu
