// titan-infer: TorchTitan's generator. Dense parameters by tp, the same on every data-parallel rank; experts over all
// dp*tp ranks. Source: facts 1.6 (#3236); torchtitan 0.3.0 experiments/rl, InferenceParallelismConfig.
#include "sim/plan/rules/titan.hpp"

namespace shardproof::titan_infer {

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& /*options*/) {
    check_as_titan_infer(dims, config, "titan-infer");
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& /*config*/, const ParallelDims& dims,
                                    const RuleOptions& /*options*/) {
    return place_model_parallel(parameter.role, dims);
}

}  // namespace shardproof::titan_infer
