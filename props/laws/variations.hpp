// What metamorphic laws share: a model with some bytes altered, and a row of a run wherever it was recorded.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>

#include "oracle/model/model.hpp"
#include "oracle/model/result.hpp"
#include "props/laws/subject.hpp"

namespace shardproof::props {

// The same model in memory, its tensors' bytes passed through `edit` one by one.
[[nodiscard]] Model altered_model(const Model& model,
                                  const std::function<void(std::string_view tensor, std::span<std::byte> bytes)>& edit);
// The sign of every value of a little-endian float tensor turned: exact.
void negate(std::span<std::byte> bytes, DType dtype);
// Every value of a little-endian F32, BF16 or F16 tensor times 2: exact, as long as none is half the largest or more.
void twice(std::span<std::byte> bytes, DType dtype);

// The plan's run of an altered case, faults of the subject included: nullopt when it stalls.
[[nodiscard]] std::optional<Result> run_varied(const Subject& subject, const Plan& plan, const Model& model,
                                               const Batch& batch);

// One token's place in a stage: the first rank that records it.
struct Place {
    const RankRecord* record = nullptr;
    std::size_t row = 0;
};
[[nodiscard]] std::map<TokenId, Place> places_of(const StageRecord& stage);

// What differs in bits between a token's records of two runs; empty: nothing. Column `but` of the output is not
// compared.
[[nodiscard]] std::string_view token_difference(const Place& a, const Place& b, std::int64_t but = -1);

// The first MoE layer, whose input no change of experts or router moves: its stage in a Result. nullopt: there is none.
[[nodiscard]] std::optional<std::size_t> first_moe_stage(const ModelConfig& config);

}  // namespace shardproof::props
