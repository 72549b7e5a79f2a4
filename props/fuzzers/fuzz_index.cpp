// model.safetensors.index.json. What is taken names tensors once each, in files of the folder.
#include <filesystem>
#include <set>
#include <string>

#include "oracle/model/checkpoint_index.hpp"
#include "props/fuzzers/fuzz_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shardproof;
    using namespace shardproof::fuzzers;
    const InTwoSeconds limit;
    CheckpointIndex index;
    if (!taken([&] { index = read_index(as_text(data, size), "index.json"); })) return 0;
    require(!index.weight_map.empty(), "an empty weight_map was taken");
    std::set<std::string> names;
    for (const auto& [tensor, file] : index.weight_map) {
        require(names.insert(tensor).second, "a tensor was taken twice");
        const std::filesystem::path path(file);
        require(!file.empty() && path.is_relative() && path == path.lexically_normal() && *path.begin() != "..",
                "a name that leaves the folder was taken");
        require(file.find('\0') == std::string::npos, "a name with NUL was taken");
    }
    return 0;
}
