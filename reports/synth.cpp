#include "reports/synth.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "oracle/model/safetensors.hpp"
#include "reports/new_file.hpp"

namespace shardproof::reports {
namespace {

std::uint64_t bytes_of(const SyntheticTensor& tensor, DType dtype) {
    return static_cast<std::uint64_t>(num_elements(tensor.shape)) * static_cast<std::uint64_t>(bits_of(dtype)) / 8;
}

// All of one dtype, so in the order of their names, as write_safetensors() has them.
void complete(SynthFile& file, DType dtype) {
    std::ranges::sort(file.tensors, {}, &SyntheticTensor::name);
    std::vector<TensorForm> forms;
    for (const SyntheticTensor* const tensor : file.tensors) forms.push_back({tensor->name, dtype, tensor->shape});
    SafetensorsForm form = safetensors_form(forms, {{"format", "pt"}});
    file.head = std::move(form.head);
    file.num_bytes = form.num_bytes;
}

}  // namespace

std::vector<SynthFile> split_into_files(const std::vector<SyntheticTensor>& tensors, const SynthOptions& options) {
    std::vector<SynthFile> files;
    SynthFile current;
    std::uint64_t current_bytes = 0;
    const auto close = [&] {
        if (!current.tensors.empty()) files.push_back(std::move(current));
        current = {};
        current_bytes = 0;
    };
    for (const SyntheticTensor& tensor : tensors) {
        const std::uint64_t bytes = bytes_of(tensor, options.dtype);
        if (bytes > options.shard_bytes_max) {
            files.push_back({.name = {}, .head = {}, .tensors = {&tensor}});
            continue;
        }
        if (current_bytes + bytes > options.shard_bytes_max) close();
        current.tensors.push_back(&tensor);
        current_bytes += bytes;
    }
    close();
    for (std::size_t i = 0; i < files.size(); ++i) {
        files[i].name = files.size() == 1 ? "model.safetensors"
                                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
        complete(files[i], options.dtype);
    }
    return files;
}

std::string index_of(const std::vector<SynthFile>& files, DType dtype) {
    std::uint64_t total = 0;
    std::map<std::string, std::string> weight_map;
    for (const SynthFile& file : files) {
        for (const SyntheticTensor* const tensor : file.tensors) {
            total += bytes_of(*tensor, dtype);
            weight_map.emplace(tensor->name, file.name);
        }
    }
    nlohmann::ordered_json index;
    index["metadata"]["total_size"] = total;
    index["weight_map"] = weight_map;
    return index.dump(2) + "\n";
}

void write_synth(const SynthFile& file, const SynthOptions& options, const std::filesystem::path& place,
                 const std::function<void(std::int64_t)>& progress) {
    NewFile out(place / file.name);
    out.append(file.head);
    if (options.sparse) {
        out.append_hole(file.num_bytes - out.num_bytes());
        out.commit();
        return;
    }
    constexpr std::int64_t kPieceElements = std::int64_t{1} << 20;
    std::vector<std::byte> piece;
    for (const SyntheticTensor* const tensor : file.tensors) {
        const std::int64_t count = num_elements(tensor->shape);
        for (std::int64_t first = 0; first < count; first += kPieceElements) {
            const std::int64_t elements = std::min(kPieceElements, count - first);
            piece.resize(static_cast<std::size_t>(elements * bits_of(options.dtype) / 8));
            fill_synthetic(*tensor, options.dtype, options.seed, first, piece);
            out.append(piece);
            progress(static_cast<std::int64_t>(piece.size()));
        }
    }
    out.commit();
}

}  // namespace shardproof::reports
