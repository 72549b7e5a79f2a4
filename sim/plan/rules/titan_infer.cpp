// titan-infer: TorchTitan's generator. Dense parameters by tp, the same on every data-parallel rank; experts over all
// dp*tp ranks. Source: facts 1.6 (#3236); torchtitan 0.3.0 experiments/rl, InferenceParallelismConfig.
#include "oracle/model/error.hpp"
#include "sim/plan/rules/titan.hpp"

namespace shardproof::titan_infer {
namespace {

void check_is_one(const char* option, std::int64_t degree) {
    if (degree == 1) return;
    throw InputError{{"command line", option, std::to_string(degree), "must be 1 for rules titan-infer"}};
}

}  // namespace

void check(const ParallelDims& dims, const ModelConfig& config) {
    check_is_one("--dp-replicate", dims.dp_replicate());
    check_is_one("--cp", dims.cp());
    check_is_one("--pp", dims.pp());
    const std::int64_t all = dims.dp_shard() * dims.tp();
    if (dims.ep() != 1 && dims.ep() != all) {
        throw InputError{{"command line", "--ep", std::to_string(dims.ep()),
                          "must be 1 or dp_shard*tp (" + std::to_string(all) + ") for rules titan-infer"}};
    }
    check_model_parallel(dims, config);
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& /*config*/,
                                    const ParallelDims& dims) {
    return place_model_parallel(parameter.role, dims);
}

}  // namespace shardproof::titan_infer
