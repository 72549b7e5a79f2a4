// Model: a directory with config.json and tensors, checked against its family.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"
#include "oracle/model/family.hpp"

namespace shardproof {

struct Model {
    std::string name;  // the path as given, for messages
    ModelConfig config;
    Checkpoint checkpoint;
    std::vector<Parameter> parameters;  // of the family, in model order
};

// Opens MODEL and checks that its tensors are exactly those of its family, with the right shapes, all in the dtype of
// the embeddings, which is BF16, F16 or F32. A tied head that is present anyway must equal the embeddings byte for
// byte; tensors of a vision model beside it are left alone. Throws InputError naming the tensor.
[[nodiscard]] Model open_model(const std::filesystem::path& directory);
// The same over tensors already at hand (tests, property cases).
[[nodiscard]] Model make_model(std::string name, ModelConfig config, Checkpoint checkpoint);

// "34 vision tensors left alone", by the family's names for them; empty where there are none.
[[nodiscard]] std::string vision_note(const ModelConfig& config, const Checkpoint& checkpoint);

// The dtype of each parameter: that of its first source's tensor.
[[nodiscard]] DType dtype_of(const Model& model, const Parameter& parameter);

}  // namespace shardproof
