// --placements FILE. What is taken names its parameters once each and says where they are.
#include <set>
#include <string>

#include "props/fuzzers/fuzz_target.hpp"
#include "reports/placements_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shardproof;
    using namespace shardproof::fuzzers;
    const InTwoSeconds limit;
    reports::PlacementsFile read;
    if (!taken([&] { read = reports::parse_placements(as_text(data, size), "placements.json"); })) return 0;
    std::set<std::string> names;
    for (const GivenParam& param : read.layout.params)
        require(names.insert(param.name).second, "a parameter was taken twice");
    for (const GivenMesh& mesh : read.layout.meshes) {
        for (const auto& [axis, axis_size] : mesh.axes) require(axis_size >= 1, "an empty axis was taken");
    }
    return 0;
}
