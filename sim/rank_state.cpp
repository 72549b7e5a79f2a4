#include "sim/rank_state.hpp"

#include "sim/plan/shard.hpp"

namespace shardproof::sim {

RankState make_rank_state(const Plan& plan, const Batch& batch, Rank rank) {
    const Mesh& dense = plan.meshes.dense;
    const Mesh& sparse = plan.meshes.sparse;
    RankState state;
    state.rank = rank;
    state.tp = Group{"tp", dense.group(rank, Axis::tp), rank};
    state.fsdp = Group{"fsdp", dense.group(rank, Axis::fsdp), rank};
    state.ep = Group{"ep", sparse.group(rank, Axis::ep), rank};
    state.efsdp = Group{"efsdp", sparse.group(rank, Axis::efsdp), rank};
    state.etp = Group{"etp", sparse.has(Axis::etp) ? sparse.group(rank, Axis::etp) : std::vector{rank}, rank};

    const std::int64_t dp_idx = plan.meshes.data.coordinate(rank, Axis::batch);
    std::int64_t first_token = 0;
    for (const Sequence& sequence : batch.sequences) {
        const auto length = static_cast<std::int64_t>(sequence.ids.size());
        if (sequence.dp_idx == dp_idx) {
            const auto begin = static_cast<std::int64_t>(state.tokens.size());
            state.sequences.push_back({begin, begin + length});
            for (std::int64_t position = 0; position < length; ++position) {
                state.tokens.emplace_back(first_token + position);
                state.positions.push_back(position);
            }
        }
        first_token += length;
    }
    state.slice = chunk(static_cast<std::int64_t>(state.tokens.size()), plan.dims.tp(),
                        static_cast<std::int64_t>(state.tp.my_idx()));
    return state;
}

}  // namespace shardproof::sim
