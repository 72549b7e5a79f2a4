// titan-train: TorchTitan's training layout. tp and ep first, then FSDP cuts what each of their parts holds.
// Source: facts 2.2, 2.3 and the remarks "Run and recorded"; torchtitan 0.3.0 distributed/fsdp.py.
#include "oracle/model/error.hpp"
#include "sim/plan/rules/titan.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::titan_train {
namespace {

// fsdp of the dense mesh, efsdp of the sparse one.
constexpr std::size_t kDataAxis = 2;
constexpr std::size_t kInnermost = 3;

// FSDP leaves the expert dim alone where some of its ranks would hold no expert.
std::size_t expert_dim(const ModelConfig& config, const ParallelDims& dims) {
    const std::int64_t num_shards = dims.ep() > 1 ? dims.efsdp() * dims.ep() : dims.dp_replicate() * dims.fsdp();
    return num_shards > config.router.num_experts ? 1 : 0;
}

// Every tp part of dim 1 must be a multiple of `parts`: FSDP cuts no dim but 0 unevenly.
void check_even(const char* param, std::int64_t extent, std::int64_t tp_parts, std::int64_t parts,
                const ParallelDims& dims) {
    for (std::int64_t t = 0; t < tp_parts; ++t) {
        const std::int64_t local = chunk(extent, tp_parts, t).size();
        if (local % parts == 0) continue;
        throw InputError{{"command line", "--dp-shard", std::to_string(dims.dp_shard()),
                          std::string{"shards dim 1 of "} + param + " (" + std::to_string(local) + " of a rank) " +
                              std::to_string(parts) + " ways, and an uneven Shard(1) is not supported"}};
    }
}

}  // namespace

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& /*options*/) {
    check_model_parallel(dims, config);
    if (!has_experts(config) || expert_dim(config, dims) == 0) return;
    const bool ep_on = dims.ep() > 1;
    const std::int64_t parts = ep_on ? dims.efsdp() : dims.fsdp();
    check_even("moe.experts.w1", config.moe_intermediate_size, ep_on ? 1 : dims.tp(), parts, dims);
    check_even("moe.experts.w2", config.hidden_size, 1, parts, dims);
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                                    const RuleOptions& /*options*/) {
    std::optional<ParamPlacement> placed = place_model_parallel(parameter.role, dims);
    if (!placed) return std::nullopt;
    const bool sparse = placed->mesh == MeshKind::sparse;
    if ((sparse ? dims.efsdp() : dims.fsdp()) == 1) return placed;
    if (parameter.role == Role::expert_bias) return placed;  // a buffer: FSDP shards parameters only
    const std::size_t dim = is_routed_expert(parameter.role) ? expert_dim(config, dims) : 0;
    const auto* const inner = std::get_if<ShardDim>(&placed->placements[kInnermost]);
    if (inner != nullptr && inner->dim == dim) {
        placed->placements[kDataAxis] = StridedShard{dim, sparse ? dims.ep() : dims.tp()};
    } else {
        placed->placements[kDataAxis] = ShardDim{dim};
    }
    return placed;
}

}  // namespace shardproof::titan_train
