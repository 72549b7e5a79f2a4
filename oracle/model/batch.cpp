#include "oracle/model/batch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"

namespace shardproof {
namespace {

// Sequences without tokens take no bytes of a file, but memory of ours.
constexpr std::int64_t kEmptySequencesMax = 1 << 20;

template <class Int>
std::vector<std::int64_t> widen_ids(const TensorView& tensor, std::int64_t vocab_size, const std::string& file) {
    const std::size_t count = tensor.bytes.size() / sizeof(Int);
    std::vector<std::int64_t> ids(count);
    for (std::size_t i = 0; i < count; ++i) {
        Int id;
        std::memcpy(&id, tensor.bytes.data() + i * sizeof(Int), sizeof(Int));
        if (std::cmp_less(id, 0) || std::cmp_greater_equal(id, vocab_size)) {
            const auto cols = static_cast<std::size_t>(tensor.shape[1]);
            throw InputError({file, fmt::format("input_ids[{},{}]", i / cols, i % cols), std::to_string(id),
                              fmt::format("must be from 0 to {}, below vocab_size={}", vocab_size - 1, vocab_size)});
        }
        ids[i] = static_cast<std::int64_t>(+id);  // promoted first: a small signed type is no character
    }
    return ids;
}

std::vector<std::int64_t> ids_of(const TensorView& tensor, std::int64_t vocab_size, const std::string& file) {
    switch (tensor.dtype) {
        case DType::I64:
            return widen_ids<std::int64_t>(tensor, vocab_size, file);
        case DType::I32:
            return widen_ids<std::int32_t>(tensor, vocab_size, file);
        case DType::I16:
            return widen_ids<std::int16_t>(tensor, vocab_size, file);
        case DType::I8:
            return widen_ids<signed char>(tensor, vocab_size, file);
        case DType::U64:
            return widen_ids<std::uint64_t>(tensor, vocab_size, file);
        case DType::U32:
            return widen_ids<std::uint32_t>(tensor, vocab_size, file);
        case DType::U16:
            return widen_ids<std::uint16_t>(tensor, vocab_size, file);
        case DType::U8:
            return widen_ids<unsigned char>(tensor, vocab_size, file);
        default:
            break;
    }
    throw InputError({file, "input_ids.dtype", std::string(name_of(tensor.dtype)),
                      "must be an integer: I64, I32, I16, I8, U64, U32, U16 or U8"});
}

// Steele, Lea and Flood's generator (OOPSLA 2014): the same numbers on every machine.
class SplitMix64 {
public:
    explicit SplitMix64(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        state_ += 0x9E37'79B9'7F4A'7C15U;
        std::uint64_t z = state_;
        z = (z ^ z >> 30) * 0xBF58'476D'1CE4'E5B9U;
        z = (z ^ z >> 27) * 0x94D0'49BB'1331'11EBU;
        return z ^ z >> 31;
    }
    // 0 .. count-1, each as likely: what is left over at the top of the range is drawn again.
    std::uint64_t below(std::uint64_t count) {
        const std::uint64_t limit = std::numeric_limits<std::uint64_t>::max() / count * count;
        for (;;) {
            if (const std::uint64_t drawn = next(); drawn < limit) return drawn % count;
        }
    }

private:
    std::uint64_t state_;
};

}  // namespace

std::int64_t Batch::num_tokens() const { return first_token(sequences.size()).value(); }

TokenId Batch::first_token(std::size_t sequence_idx) const {
    SP_ASSERT(sequence_idx <= sequences.size());
    std::int64_t tokens = 0;
    for (std::size_t i = 0; i < sequence_idx; ++i) tokens += static_cast<std::int64_t>(sequences[i].ids.size());
    return TokenId{tokens};
}

Batch deal_batch(const std::vector<std::int64_t>& ids, std::int64_t num_sequences, std::int64_t sequence_length,
                 std::int64_t num_dp) {
    SP_ASSERT(num_sequences >= 0);
    SP_ASSERT(sequence_length >= 0);
    SP_ASSERT(num_dp >= 1);
    const auto num_ids = static_cast<std::int64_t>(ids.size());
    const std::int64_t sequences_per_dp = num_sequences / num_dp + (num_sequences % num_dp != 0 ? 1 : 0);
    Batch batch;
    batch.sequences.reserve(static_cast<std::size_t>(num_sequences));
    std::int64_t begin = 0;
    for (std::int64_t i = 0; i < num_sequences; ++i) {
        const std::int64_t length = std::min(sequence_length, num_ids - begin);
        // Only the last sequence may be short.
        SP_ASSERT(length == sequence_length || i == num_sequences - 1);
        batch.sequences.push_back(
            {.ids = {ids.begin() + begin, ids.begin() + begin + length}, .dp_idx = i / sequences_per_dp});
        begin += length;
    }
    SP_ASSERT(begin == num_ids);
    return batch;
}

InputIds read_input_ids(const std::filesystem::path& file, const ModelConfig& config) {
    const SafetensorsFile opened(map_file(file, file.string()));
    const SafetensorsEntry* const entry = opened.find("input_ids");
    if (entry == nullptr) throw InputError({file.string(), "input_ids", "", "tensor missing"});
    const TensorView tensor = opened.view(*entry);
    if (tensor.shape.size() != 2) {
        throw InputError({file.string(), "input_ids.shape", to_string(tensor.shape), "must be [sequences, tokens]"});
    }
    if (tensor.shape[1] == 0 && tensor.shape[0] > kEmptySequencesMax) {
        throw InputError({file.string(), "input_ids.shape", to_string(tensor.shape),
                          fmt::format("must not have more than {} sequences without tokens", kEmptySequencesMax)});
    }
    return {tensor.shape[0], tensor.shape[1], ids_of(tensor, config.vocab_size, file.string())};
}

InputIds random_input_ids(std::int64_t num_tokens, std::uint64_t seed, const ModelConfig& config) {
    constexpr std::int64_t kSequenceLengthMax = 16;
    SP_ASSERT(num_tokens >= 0);
    SP_ASSERT(config.vocab_size >= 1);
    const std::int64_t length = std::min(num_tokens, kSequenceLengthMax);
    const std::int64_t count = num_tokens == 0 ? 0 : (num_tokens - 1) / length + 1;
    InputIds batch{.num_sequences = count, .sequence_length = length, .ids = {}};
    SplitMix64 random(seed);
    batch.ids.resize(static_cast<std::size_t>(num_tokens));
    for (std::int64_t& id : batch.ids) {
        id = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(config.vocab_size)));
    }
    return batch;
}

}  // namespace shardproof
