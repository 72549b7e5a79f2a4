// A checkpoint that nobody trained, in the layout that a family is published in.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "oracle/model/synthetic.hpp"

namespace shardproof::reports {

struct SynthOptions {
    std::uint64_t seed = 0;
    DType dtype = DType::BF16;
    std::uint64_t shard_bytes_max = 5'000'000'000;  // of a file's tensors; huggingface_hub's default
    bool sparse = false;                            // holes instead of values
};

struct SynthFile {
    std::string name;
    std::string head;                            // length, JSON and padding: what the file begins with
    std::vector<const SyntheticTensor*> tensors;  // in the order of their bytes
    std::uint64_t num_bytes = 0;                 // of the whole file
};

// As huggingface_hub's save splits: files are filled in model order, a tensor that is larger than a file may be has one
// to itself. `tensors` outlive the result.
[[nodiscard]] std::vector<SynthFile> split_into_files(const std::vector<SyntheticTensor>& tensors,
                                                      const SynthOptions& options);
// model.safetensors.index.json, as its save writes it.
[[nodiscard]] std::string index_of(const std::vector<SynthFile>& files, DType dtype);
// `progress` is told the bytes of each piece written.
void write_synth(const SynthFile& file, const SynthOptions& options, const std::filesystem::path& place,
                 const std::function<void(std::int64_t)>& progress);

}  // namespace shardproof::reports
