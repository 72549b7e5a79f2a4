// One stage's records of all ranks, seen by token: who recorded a token first, and whether the others agree.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oracle/attention.hpp"
#include "oracle/judge.hpp"

namespace shardproof::oracle {

enum class Field : std::uint8_t { input, hidden, output, expert_ids, expert_weights };

struct FieldShape {
    Field field;
    std::int64_t cols;
};

class Records {
public:
    // A token as its lowest rank recorded it.
    struct Place {
        std::int64_t rank;
        std::int64_t row;  // of that rank's matrices
        std::int64_t token;
    };

    // Both must outlive it.
    Records(const StageRecord& stage, const TokenLayout& tokens) : stage_{&stage}, tokens_{&tokens} {}

    // Checks that every matrix of every rank has the given width (0 is "absent") and a row a token, and that every
    // token of the batch was recorded. Nothing else may be called before this, nor after it gave a mismatch.
    [[nodiscard]] std::optional<Mismatch> index(const std::vector<FieldShape>& shapes);
    // Checks that ranks which recorded the same token recorded the same bits.
    [[nodiscard]] std::optional<Mismatch> replicas_agree(FieldShape shape) const;

    [[nodiscard]] const std::vector<Place>& places() const { return places_; }  // by (rank, row): one a token
    [[nodiscard]] const float* floats(Field field, const Place& place) const;   // a row of any field but expert_ids
    [[nodiscard]] const ExpertId* expert_ids(const Place& place, std::int64_t top_k) const;
    // All tokens' rows in TokenId order.
    [[nodiscard]] std::vector<float> gather(FieldShape shape) const;
    // {sequence, position, column}
    [[nodiscard]] std::vector<std::int64_t> coordinate(std::int64_t token, std::int64_t column) const;

private:
    [[nodiscard]] const std::byte* row_bytes(Field field, std::int64_t rank, std::int64_t row, std::int64_t cols) const;
    const StageRecord* stage_;
    const TokenLayout* tokens_;
    std::vector<Place> places_;
    std::vector<std::size_t> place_of_;  // [N] token -> index into places_
};

}  // namespace shardproof::oracle
