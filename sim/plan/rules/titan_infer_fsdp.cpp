// titan-infer-fsdp: what torchtitan #3143 set out to do for inference, made to work. FSDP over a mesh of two axes,
// (dp_replicate, fsdp) for dense parameters and (dp_replicate, efsdp) for experts, each there at size 1 too; which of
// the two a parameter takes is the shard-placement function of training. Source: facts 1.6; torchtitan 0.3.0
// distributed/fsdp.py, apply_fsdp_to_decoder.
#include "sim/plan/rules/titan.hpp"

namespace shardproof::titan_infer_fsdp {

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options) {
    require_one("--cp", dims.cp(), "titan-infer-fsdp");
    require_one("--pp", dims.pp(), "titan-infer-fsdp");
    titan_train::check(dims, config, options);
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                                    const RuleOptions& options) {
    return titan_train::place(parameter, config, dims, options);
}

}  // namespace shardproof::titan_infer_fsdp
