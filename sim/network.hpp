// How long moving bytes takes by a stated model: latency and bandwidth of two levels. Not a measurement.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "sim/collective.hpp"
#include "sim/plan/mesh.hpp"

namespace shardproof::sim {

using PerRank = std::vector<std::int64_t>;  // one entry a rank of the world

// A network of two levels: ranks of a node are `ranks_per_node` consecutive ones. The defaults are assumptions, no
// measurements: vendors' peak of one H100 (NVLink 450 GB/s one way, one 400 Gb/s port), latencies of that order.
struct Link {
    double latency_us = 0;
    double gb_per_s = 0;  // 1e9 bytes a second, of one rank, one way
};
struct Network {
    std::int64_t ranks_per_node = 8;
    Link intra_node{.latency_us = 3, .gb_per_s = 450};
    Link inter_node{.latency_us = 10, .gb_per_s = 50};
    [[nodiscard]] bool same_node(Rank a, Rank b) const {
        return a.value() / ranks_per_node == b.value() / ranks_per_node;
    }
};

// Bytes that leave and reach each rank of an all-to-all, other ranks' only: [0] inside its node, [1] beyond.
struct Traffic {
    explicit Traffic(std::size_t world) : out{PerRank(world, 0), PerRank(world, 0)}, in{out}, peers{out} {}
    void move(std::size_t from, std::size_t to, bool near, std::int64_t bytes) {
        const std::size_t level = near ? 0 : 1;
        out[level][from] += bytes;
        in[level][to] += bytes;
        ++peers[level][from];
    }
    std::array<PerRank, 2> out;
    std::array<PerRank, 2> in;
    std::array<PerRank, 2> peers;
};

// A gather, scatter or sum along an axis, of buffers of `sent` and `received` bytes, is a ring of n ranks at the
// slowest link that its group crosses: n - 1 steps of latency, and the bytes that a rank gets from or hands to others;
// all_reduce is both. The slowest rank's time.
[[nodiscard]] double ring_time_us(const Network& network, CollectiveKind kind, const Mesh& mesh, Axis axis,
                                  const PerRank& sent, const PerRank& received);
// all_to_all sends to all peers at once, each level at its own speed: latency, and the bytes that leave or reach the
// rank there, whichever are more.
[[nodiscard]] double exchange_time_us(const Network& network, const Traffic& traffic);

}  // namespace shardproof::sim
