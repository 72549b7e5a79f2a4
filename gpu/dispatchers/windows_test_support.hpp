// For the tests of windows: ranks on one GPU, random layers, and what the pure functions of sim/plan say of them.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gpu/dispatchers/windows.hpp"
#include "gpu/gpu_test_support.hpp"
#include "gpu/transport/nccl.hpp"
#include "gpu/transport/processes.hpp"

namespace shardproof::gpu::windows_test {

using Bytes = std::vector<std::byte>;

// Why windows cannot be had here; empty where they can.
inline std::string why_no_windows() {
    if (no_gpu()) return find_machine().why_none;
    if (!windows_were_built()) return "built without the headers of NCCL 2.32.3";
    try {
        if (NcclLibrary::get().version() == kNcclDeviceApiVersion) return {};
    } catch (const EnvironmentError& error) {
        return error.what();
    }
    return "needs NCCL 2.32.3, found " + NcclLibrary::describe();
}

// Ranks of one group on one GPU: all of them in this process, or one of them and the others in processes of their own.
struct World {
    World(std::int64_t num_ranks, double deadline_s) : World{num_ranks, 0, num_ranks, deadline_s, nullptr} {}
    World(const Processes& processes, double deadline_s, Store& store)
        : World{processes.world, processes.rank, 1, deadline_s, &store} {}

    std::vector<Stream> streams;
    std::vector<LocalRank> ranks;
    RankGroup group{.axis = "ep", .ranks = {}};
    std::unique_ptr<NcclTransport> transport;
    std::unique_ptr<Ledger> ledger;
    std::unique_ptr<Dispatcher> dispatcher;

private:
    World(std::int64_t num_ranks, std::int64_t first, std::int64_t num_here, double deadline_s, Store* store)
        : streams(static_cast<std::size_t>(num_here)) {
        for (std::int64_t r = 0; r < num_ranks; ++r) group.ranks.emplace_back(r);
        for (std::size_t i = 0; i < streams.size(); ++i) {
            const Rank rank{first + static_cast<std::int64_t>(i)};
            ranks.push_back({.rank = rank, .device = 0, .stream = streams[i].view()});
        }
        transport = std::make_unique<NcclTransport>(
            TransportOptions{.local_ranks = ranks, .world = num_ranks, .deadline_s = deadline_s, .store = store});
        ledger = std::make_unique<Ledger>(*transport, ranks, deadline_s, nullptr);
        dispatcher = make_windows_dispatcher(*transport, *ledger, ranks);
    }
};

struct Sizes {
    std::int64_t num_experts = 8;
    std::int64_t top_k = 2;
    std::int64_t hidden = 16;
    Arithmetic arithmetic = Arithmetic::bf16;
    std::vector<std::int64_t> rows = {};  // of each rank
    [[nodiscard]] std::size_t row_bytes() const { return static_cast<std::size_t>(hidden * element_bytes(arithmetic)); }
};
enum class Routing : std::uint8_t { random, all_to_one };

inline ExpertMap deal_experts(std::int64_t num_experts, std::int64_t num_peers, std::mt19937& prng) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(num_experts));
    std::iota(ids.begin(), ids.end(), 0);
    std::ranges::shuffle(ids, prng);
    ExpertMap map{.num_peers = num_peers, .home = {}, .held = {}};
    map.home.resize(ids.size());
    map.held.resize(static_cast<std::size_t>(num_peers));
    for (const std::int64_t id : ids) {
        const auto peer = prng() % static_cast<std::size_t>(num_peers);
        map.home[static_cast<std::size_t>(id)] = {static_cast<std::int64_t>(peer),
                                                  LocalExpert{static_cast<std::int64_t>(map.held[peer].size())}};
        map.held[peer].emplace_back(id);
    }
    return map;
}

inline std::vector<ExpertId> choose(const Sizes& sizes, std::int64_t num_rows, Routing routing, std::mt19937& prng) {
    std::vector<ExpertId> ids;
    std::vector<std::int64_t> experts(static_cast<std::size_t>(sizes.num_experts));
    std::iota(experts.begin(), experts.end(), 0);
    for (std::int64_t t = 0; t < num_rows; ++t) {
        if (routing == Routing::random) std::ranges::shuffle(experts, prng);
        for (std::int64_t k = 0; k < sizes.top_k; ++k) ids.emplace_back(experts[static_cast<std::size_t>(k)]);
    }
    return ids;
}

// What one rank sends in one layer, on the host and on the device.
struct Sent {
    DispatchPlan plan;
    std::vector<std::int32_t> rows_at;   // [E] by position
    std::vector<std::int32_t> begin_at;  // [E+1]
    Bytes rows;                          // [n*K, D]
    DeviceArray<std::int32_t> rows_at_device, begin_at_device;
    DeviceBytes rows_device;
};

inline Bytes random_bytes(std::size_t num_slots, std::size_t row_bytes, std::mt19937& prng) {
    Bytes rows(num_slots * row_bytes);
    for (std::byte& byte : rows) byte = static_cast<std::byte>(prng());
    return rows;
}

inline Sent send_of(const ExpertMap& map, const Sizes& sizes, std::int64_t num_rows, Routing routing, StreamView stream,
                    std::mt19937& prng) {
    Sent sent;
    sent.plan = plan_dispatch(map, choose(sizes, num_rows, routing, prng), sizes.top_k);
    sent.begin_at = {0};
    for (const auto& held : map.held) {
        for (const ExpertId e : held) {
            sent.rows_at.push_back(static_cast<std::int32_t>(sent.plan.rows_to_expert[e.idx()]));
            sent.begin_at.push_back(sent.begin_at.back() + sent.rows_at.back());
        }
    }
    sent.rows = random_bytes(static_cast<std::size_t>(num_rows * sizes.top_k), sizes.row_bytes(), prng);
    sent.rows_at_device.reserve(static_cast<std::int64_t>(sent.rows_at.size()));
    sent.begin_at_device.reserve(static_cast<std::int64_t>(sent.begin_at.size()));
    sent.rows_device.reserve(static_cast<std::int64_t>(sent.rows.size()));
    upload(std::as_bytes(std::span{sent.rows_at}), sent.rows_at_device.data(), stream);
    upload(std::as_bytes(std::span{sent.begin_at}), sent.begin_at_device.data(), stream);
    upload(sent.rows, sent.rows_device.data(), stream);
    return sent;
}

// What must have arrived at one peer: plan_arrival over what all send.
struct Arrived {
    std::vector<std::int32_t> expert_begin{0};
    Bytes rows;
};
inline Arrived arrived_at(std::size_t peer, const ExpertMap& map, const Sizes& sizes, const std::vector<Sent>& sent) {
    std::size_t first = 0;
    for (std::size_t p = 0; p < peer; ++p) first += map.held[p].size();
    const std::size_t locals = map.held[peer].size();
    std::vector<std::int64_t> counts;
    std::vector<const std::byte*> arriving;
    for (const Sent& source : sent) {
        for (std::size_t l = 0; l < locals; ++l) counts.push_back(source.rows_at[first + l]);
        for (auto slot = source.begin_at[first]; slot < source.begin_at[first + locals]; ++slot) {
            arriving.push_back(source.rows.data() + static_cast<std::size_t>(slot) * sizes.row_bytes());
        }
    }
    const ArrivalPlan plan =
        plan_arrival(counts, static_cast<std::int64_t>(sent.size()), static_cast<std::int64_t>(locals));
    Arrived result;
    for (const std::int64_t rows : plan.rows_of_expert) {
        result.expert_begin.push_back(result.expert_begin.back() + static_cast<std::int32_t>(rows));
    }
    for (const std::int64_t row : plan.arrival_row) {
        const std::byte* from = arriving[static_cast<std::size_t>(row)];
        result.rows.insert(result.rows.end(), from, from + sizes.row_bytes());
    }
    return result;
}

// One layer with experts that change nothing, and what came of it. Enqueued, not waited for.
struct Layer {
    std::vector<Sent> sent;   // by every rank of the group
    std::vector<Rank> ranks;  // those of this process, as are all that follow
    std::vector<DeviceBytes> arrived, returned;
    std::vector<DeviceArray<std::int32_t>> expert_begin;
    [[nodiscard]] const Sent& sent_here(std::size_t local_idx) const { return sent[ranks[local_idx].idx()]; }
};

inline std::size_t bytes_of(const Matrix& matrix) {
    return static_cast<std::size_t>(matrix.rows * matrix.cols * element_bytes(matrix.arithmetic));
}

inline void copy(const void* from, void* to, std::size_t bytes, StreamView stream) {
    if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream.raw()));
}

inline std::vector<RankDispatch> prepare(World& world, const ExpertMap& map, const Sizes& sizes) {
    std::vector<RankDispatch> parts(world.ranks.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
        parts[i].group = &world.group;
        parts[i].local_idx = i;
        parts[i].num_rows = sizes.rows[world.ranks[i].rank.idx()];
    }
    world.dispatcher->prepare(parts, {.hidden = sizes.hidden,
                                      .top_k = sizes.top_k,
                                      .arithmetic = sizes.arithmetic,
                                      .experts = &map,
                                      .rows_of_rank = sizes.rows});
    return parts;
}

inline Layer make_layer(World& world, const ExpertMap& map, const Sizes& sizes, Routing routing, std::mt19937& prng) {
    Layer layer;
    for (const LocalRank& local : world.ranks) layer.ranks.push_back(local.rank);
    for (const Rank rank : world.group.ranks) {
        // What others send is made here too, from the same numbers.
        const auto here = std::ranges::find(world.ranks, rank, &LocalRank::rank);
        const StreamView stream = here == world.ranks.end() ? world.ranks.front().stream : here->stream;
        layer.sent.push_back(send_of(map, sizes, sizes.rows[rank.idx()], routing, stream, prng));
    }
    return layer;
}

inline void give(std::vector<RankDispatch>& parts, const Layer& layer, const Sizes& sizes) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const Sent& sent = layer.sent_here(i);
        parts[i].send = {sent.rows_device.data(), parts[i].num_rows * sizes.top_k, sizes.hidden, sizes.arithmetic};
        parts[i].rows_at = sent.rows_at_device.data();
        parts[i].begin_at = sent.begin_at_device.data();
    }
}

inline void make_room(const std::vector<RankDispatch>& parts, const ExpertMap& map, Layer& layer) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
        layer.arrived.emplace_back(static_cast<std::int64_t>(bytes_of(parts[i].worked)));
        layer.returned.emplace_back(static_cast<std::int64_t>(layer.sent_here(i).rows.size()));
        layer.expert_begin.emplace_back(static_cast<std::int64_t>(map.held[layer.ranks[i].idx()].size()) + 1);
    }
}

inline void run_layer(World& world, std::vector<RankDispatch>& parts, Layer& layer, const Sizes& sizes) {
    give(parts, layer, sizes);
    world.dispatcher->dispatch(parts);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const StreamView stream = world.ranks[i].stream;
        const std::size_t begins = static_cast<std::size_t>(layer.expert_begin[i].size()) * sizeof(std::int32_t);
        copy(parts[i].expert_begin, layer.expert_begin[i].data(), begins, stream);
        copy(parts[i].arrived.data, layer.arrived[i].data(), bytes_of(parts[i].arrived), stream);
        copy(parts[i].arrived.data, parts[i].worked.data, bytes_of(parts[i].arrived), stream);
    }
    world.dispatcher->combine(parts);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        copy(parts[i].returned.data, layer.returned[i].data(), layer.sent_here(i).rows.size(), world.ranks[i].stream);
    }
}

template <class T>
std::vector<T> read(const void* from, std::size_t count) {
    std::vector<T> host(count);
    if (count > 0) check(cudaMemcpy(host.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
}

enum class Beyond : std::uint8_t { poison, anything };  // what lies behind the rows that arrived
inline void expect_exact(const Layer& layer, const ExpertMap& map, const Sizes& sizes, Beyond beyond) {
    for (std::size_t i = 0; i < layer.ranks.size(); ++i) {
        SCOPED_TRACE("rank " + std::to_string(layer.ranks[i].value()));
        const Arrived want = arrived_at(layer.ranks[i].idx(), map, sizes, layer.sent);
        EXPECT_EQ(read<std::int32_t>(layer.expert_begin[i].data(), want.expert_begin.size()), want.expert_begin);
        Bytes got = read<std::byte>(layer.arrived[i].data(), static_cast<std::size_t>(layer.arrived[i].size()));
        ASSERT_GE(got.size(), want.rows.size());
        if (beyond == Beyond::poison) {
            EXPECT_TRUE(std::all_of(got.begin() + static_cast<std::ptrdiff_t>(want.rows.size()), got.end(),
                                    [](std::byte byte) { return byte == std::byte{0xFF}; }));
        }
        got.resize(want.rows.size());
        EXPECT_TRUE(got == want.rows);
        const Bytes& sent = layer.sent_here(i).rows;
        EXPECT_TRUE(read<std::byte>(layer.returned[i].data(), sent.size()) == sent);
    }
}

}  // namespace shardproof::gpu::windows_test
