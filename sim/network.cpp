#include "sim/network.hpp"

#include <algorithm>

namespace shardproof::sim {

namespace {

double transfer_us(double bytes, const Link& link) { return bytes / (link.gb_per_s * 1e3); }

}  // namespace

double ring_time_us(const Network& network, CollectiveKind kind, const Mesh& mesh, Axis axis, const PerRank& sent,
                    const PerRank& received) {
    const MeshAxis& mine = mesh.axes()[mesh.axis_idx(axis)];
    const auto steps = static_cast<double>(mine.size - 1);
    double slowest = 0;
    for (std::size_t r = 0; r < sent.size(); ++r) {
        const Rank first = mesh.first_of_group(Rank{static_cast<std::int64_t>(r)}, axis);
        const bool near = network.same_node(first, Rank{first.value() + (mine.size - 1) * mine.stride});
        const Link& link = near ? network.intra_node : network.inter_node;
        double bytes = static_cast<double>(received[r] - sent[r]);
        if (kind == CollectiveKind::reduce_scatter) bytes = -bytes;
        if (kind == CollectiveKind::all_reduce)
            bytes = 2 * steps / static_cast<double>(mine.size) * static_cast<double>(sent[r]);
        const double rounds = kind == CollectiveKind::all_reduce ? 2 * steps : steps;
        slowest = std::max(slowest, rounds * link.latency_us + transfer_us(bytes, link));
    }
    return slowest;
}

double exchange_time_us(const Network& network, const Traffic& traffic) {
    double slowest = 0;
    for (std::size_t r = 0; r < traffic.out[0].size(); ++r) {
        double time = 0;
        for (std::size_t level = 0; level < 2; ++level) {
            const Link& link = level == 0 ? network.intra_node : network.inter_node;
            const auto bytes = static_cast<double>(std::max(traffic.out[level][r], traffic.in[level][r]));
            if (traffic.peers[level][r] > 0) time += link.latency_us + transfer_us(bytes, link);
        }
        slowest = std::max(slowest, time);
    }
    return slowest;
}

}  // namespace shardproof::sim
