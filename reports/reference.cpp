#include "reports/reference.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::reports {
namespace {

double share_of(DType dtype, const std::string& file) {
    switch (dtype) {
        case DType::F64:
            return 1e-10;
        case DType::F32:
            return 1e-5;
        case DType::F16:
            return 1e-2;
        case DType::BF16:
            return 5e-2;
        default:
            throw InputError({file, "logits", std::string{name_of(dtype)}, "must be F64, F32, F16 or BF16"});
    }
}

}  // namespace

Reference::Reference(const std::filesystem::path& file, const InputIds& ids, const ModelConfig& config)
    : file_{map_file(file, file.string())}, sequence_length_{ids.sequence_length} {
    const SafetensorsEntry* entry = file_.find("logits");
    if (entry == nullptr) throw InputError({file.string(), "logits", "", "tensor is missing"});
    logits_ = file_.view(*entry);
    share_ = share_of(logits_.dtype, file.string());
    const Shape wanted{ids.num_sequences, ids.sequence_length, config.vocab_size};
    if (logits_.shape != wanted)
        throw InputError({file.string(), "logits", to_string(logits_.shape), "must have shape " + to_string(wanted)});
}

std::optional<Mismatch> Reference::judge(const Model& model, const Batch& batch) const {
    const oracle::Logits mine = oracle::forward(model.config, model.checkpoint, batch);
    double largest = 0;  // of the finite ones: an infinite one would allow everything
    for (std::size_t i = 0; i < mine.values.size(); ++i) {
        const double size = std::abs(element_as_double(logits_, static_cast<std::int64_t>(i)));
        if (std::isfinite(size)) largest = std::max(largest, size);
    }
    const double bound = share_ * largest;
    for (std::size_t i = 0; i < mine.values.size(); ++i) {
        const auto flat = static_cast<std::int64_t>(i);
        const double want = element_as_double(logits_, flat);
        if (std::abs(mine.values[i] - want) <= bound) continue;
        const std::int64_t row = flat / mine.cols;
        return Mismatch{.layer = "lm_head",
                        .rank = Rank{0},
                        .coordinate = {row / sequence_length_, row % sequence_length_, flat % mine.cols},
                        .got = mine.values[i],
                        .want = want,
                        .bound = bound,
                        .why = "the oracle differs from the reference"};
    }
    return std::nullopt;
}

}  // namespace shardproof::reports
