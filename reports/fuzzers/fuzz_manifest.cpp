// manifest.json, as `load --against`, `merge` and `load --from-shards` read it. What is taken has its ranks in order.
#include "props/fuzzers/fuzz_target.hpp"
#include "reports/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shardproof;
    using namespace shardproof::fuzzers;
    const InTwoSeconds limit;
    reports::Manifest manifest;
    if (!taken([&] { manifest = reports::parse_manifest(as_text(data, size), "manifest.json"); })) return 0;
    std::int64_t before = -1;
    for (const reports::ManifestRank& rank : manifest.ranks) {
        require(rank.rank > before, "ranks out of order were taken");
        before = rank.rank;
        for (const reports::ManifestParam& param : rank.params)
            require(!param.xxh64 || param.xxh64->size() == 16, "a hash of another length was taken");
    }
    return 0;
}
