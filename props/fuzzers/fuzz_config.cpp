// config.json of any family. What is taken is a model whose parameters can be named and counted.
#include "oracle/model/config.hpp"
#include "oracle/model/family.hpp"
#include "props/fuzzers/fuzz_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shardproof;
    using namespace shardproof::fuzzers;
    const InTwoSeconds limit;
    constexpr std::int64_t kLayersMax = 8;  // enough for what varies from layer to layer
    constexpr std::int64_t kExpertsMax = 64;
    (void)taken([&] {
        const ModelConfig config = parse_config(as_text(data, size), "config.json");
        require(static_cast<std::int64_t>(config.mlp.size()) == config.num_layers, "a layer without a kind was taken");
        if (config.num_layers > kLayersMax || config.router.num_experts > kExpertsMax) return;
        const ModelFamily& family = family_of(config);
        require(!family.parameters(config).empty(), "a model without parameters was taken");
        require(family.active_parameters(config) >= 0, "the count of active parameters overflows");
    });
    return 0;
}
