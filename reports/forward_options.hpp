// Options of the commands that run a model: which tokens, which backend, which arithmetic; and what they cost in
// memory.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "oracle/model/batch.hpp"
#include "oracle/model/model.hpp"
#include "oracle/model/result.hpp"
#include "reports/options.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

enum class Backend : std::uint8_t { oracle, sim, gpu };

// Tokens from a file, or drawn from a seed.
struct TokenOptions {
    std::optional<std::filesystem::path> input_ids;
    std::optional<std::int64_t> tokens;
    std::optional<std::int64_t> seed;
};
inline constexpr std::int64_t kDefaultTokens = 64;

void add_input_ids(OptionSet& set, TokenOptions& options);
void add_random_tokens(OptionSet& set, TokenOptions& options);
// --seed: a whole number of 0 or more.
void add_seed(OptionSet& set, const std::string& help, std::optional<std::int64_t>& seed);
void add_dtype(OptionSet& set, std::string& dtype);

[[nodiscard]] InputIds input_ids_of(const TokenOptions& options, const ModelConfig& config);
// "sim", "gpu", and where `with_oracle` says so "oracle".
[[nodiscard]] Backend backend_of(const std::string& name, bool with_oracle);
// "" is the backend's default: f32, on a GPU bf16.
[[nodiscard]] Arithmetic arithmetic_of(const std::string& dtype, Backend backend);

// A model cut to its first layers, tensors and all.
[[nodiscard]] Model open_cut_model(const std::filesystem::path& directory, std::optional<std::int64_t> layers);

// Bytes that running one stage of all ranks takes at most, and of the oracle where `with_oracle` says so; recorded
// activations included.
[[nodiscard]] std::uint64_t forward_bytes(const Plan& plan, const InputIds& ids, bool with_oracle);
// Bytes that the oracle's forward takes by itself: no ranks, weights widened block by block, nothing recorded.
[[nodiscard]] std::uint64_t oracle_bytes(const ModelConfig& config, const InputIds& ids);

}  // namespace shardproof::reports
