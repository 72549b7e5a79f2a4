// Batch: the token ids of one forward, as sequences. Tokens are numbered sequence-major: TokenId is a flat index.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/ids.hpp"

namespace shardproof {

struct Sequence {
    std::vector<std::int64_t> ids;  // each 0 .. vocab_size-1; may be empty
    std::int64_t dp_idx = 0;        // which data-parallel rank (index on the batch axis) runs it
};

struct Batch {
    std::vector<Sequence> sequences;
    [[nodiscard]] std::int64_t num_tokens() const;
    [[nodiscard]] TokenId first_token(std::size_t sequence_idx) const;
};

// [B,S] ids dealt to `num_dp` data-parallel ranks as torch.chunk deals rows: ceil(B/num_dp) each, trailing ranks short
// or empty.
[[nodiscard]] Batch deal_batch(const std::vector<std::int64_t>& ids, std::int64_t num_sequences,
                               std::int64_t sequence_length, std::int64_t num_dp);

// A safetensors file's integer tensor `input_ids` [B,S]. Throws InputError for another dtype, rank, or an id out of
// range.
struct InputIds {
    std::int64_t num_sequences = 0;
    std::int64_t sequence_length = 0;
    std::vector<std::int64_t> ids;
};
[[nodiscard]] InputIds read_input_ids(const std::filesystem::path& file, const ModelConfig& config);
// Uniform ids, a function of seed: `num_tokens` tokens as sequences of at most 16 (the last one may be shorter).
[[nodiscard]] InputIds random_input_ids(std::int64_t num_tokens, std::uint64_t seed, const ModelConfig& config);

}  // namespace shardproof
