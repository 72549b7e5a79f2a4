#include "oracle/records.hpp"

#include <cstring>

#include "oracle/model/error.hpp"

namespace shardproof::oracle {
namespace {

constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

const Rows& rows_of(const RankRecord& record, Field field) {
    SP_ASSERT(field != Field::expert_ids && field != Field::expert_weights);
    if (field == Field::input) return record.input;
    return field == Field::hidden ? record.hidden : record.output;
}

std::size_t num_values(const RankRecord& record, Field field) {
    if (field == Field::expert_ids) return record.expert_ids.size();
    if (field == Field::expert_weights) return record.expert_weights.size();
    return rows_of(record, field).values.size();
}

bool has_shape(const RankRecord& record, FieldShape shape) {
    const bool is_rows = shape.field != Field::expert_ids && shape.field != Field::expert_weights;
    const std::size_t values = num_values(record, shape.field);
    if (is_rows && values > 0 && rows_of(record, shape.field).cols != shape.cols) return false;
    return values == record.tokens.size() * static_cast<std::size_t>(shape.cols);
}

std::size_t value_bytes(Field field) { return field == Field::expert_ids ? sizeof(ExpertId) : sizeof(float); }

}  // namespace

std::optional<Mismatch> Records::index(const std::vector<FieldShape>& shapes) {
    const auto num_tokens = static_cast<std::int64_t>(tokens_->ids.size());
    place_of_.assign(tokens_->ids.size(), kNowhere);
    places_.clear();
    places_.reserve(tokens_->ids.size());
    for (std::size_t rank = 0; rank < stage_->ranks.size(); ++rank) {
        const RankRecord& record = stage_->ranks[rank];
        const auto bad = [&](const char* why) {
            Mismatch mismatch;
            mismatch.rank = Rank{static_cast<std::int64_t>(rank)};
            mismatch.why = why;
            return mismatch;
        };
        for (const FieldShape& shape : shapes) {
            if (!has_shape(record, shape)) return bad("record has another shape");
        }
        for (std::size_t row = 0; row < record.tokens.size(); ++row) {
            const std::int64_t token = record.tokens[row].value();
            if (token < 0 || token >= num_tokens) return bad("token is not of the batch");
            if (place_of_[static_cast<std::size_t>(token)] != kNowhere) continue;
            place_of_[static_cast<std::size_t>(token)] = places_.size();
            places_.push_back({static_cast<std::int64_t>(rank), static_cast<std::int64_t>(row), token});
        }
    }
    for (std::int64_t token = 0; token < num_tokens; ++token) {
        if (place_of_[static_cast<std::size_t>(token)] != kNowhere) continue;
        Mismatch mismatch;
        mismatch.coordinate = coordinate(token, 0);
        mismatch.why = "token not computed";
        return mismatch;
    }
    return std::nullopt;
}

const std::byte* Records::row_bytes(Field field, std::int64_t rank, std::int64_t row, std::int64_t cols) const {
    const RankRecord& record = stage_->ranks[static_cast<std::size_t>(rank)];
    const std::int64_t at = row * cols;
    if (field == Field::expert_ids) return reinterpret_cast<const std::byte*>(record.expert_ids.data() + at);
    if (field == Field::expert_weights) return reinterpret_cast<const std::byte*>(record.expert_weights.data() + at);
    return reinterpret_cast<const std::byte*>(rows_of(record, field).values.data() + at);
}

std::optional<Mismatch> Records::replicas_agree(FieldShape shape) const {
    const std::size_t width = value_bytes(shape.field);
    const std::size_t row_size = width * static_cast<std::size_t>(shape.cols);
    if (row_size == 0) return std::nullopt;
    for (std::size_t rank = 0; rank < stage_->ranks.size(); ++rank) {
        const RankRecord& record = stage_->ranks[rank];
        for (std::size_t row = 0; row < record.tokens.size(); ++row) {
            const Place& first = places_[place_of_[record.tokens[row].idx()]];
            const std::byte* want = row_bytes(shape.field, first.rank, first.row, shape.cols);
            const std::byte* got =
                row_bytes(shape.field, static_cast<std::int64_t>(rank), static_cast<std::int64_t>(row), shape.cols);
            if (got == want || std::memcmp(got, want, row_size) == 0) continue;
            std::size_t column = 0;
            while (std::memcmp(got + column * width, want + column * width, width) == 0) ++column;
            const auto value = [&](const std::byte* of) {
                if (shape.field == Field::expert_ids) {
                    return static_cast<double>(reinterpret_cast<const ExpertId*>(of)[column].value());
                }
                return static_cast<double>(reinterpret_cast<const float*>(of)[column]);
            };
            return Mismatch{.layer = {},
                            .rank = Rank{static_cast<std::int64_t>(rank)},
                            .coordinate = coordinate(first.token, static_cast<std::int64_t>(column)),
                            .got = value(got),
                            .want = value(want),
                            .bound = 0,
                            .why = "replicas disagree"};
        }
    }
    return std::nullopt;
}

const float* Records::floats(Field field, const Place& place) const {
    const RankRecord& record = stage_->ranks[static_cast<std::size_t>(place.rank)];
    if (field == Field::expert_weights) {
        const std::size_t top_k = record.expert_weights.size() / record.tokens.size();
        return record.expert_weights.data() + static_cast<std::size_t>(place.row) * top_k;
    }
    return rows_of(record, field).row(place.row);
}

const ExpertId* Records::expert_ids(const Place& place, std::int64_t top_k) const {
    return stage_->ranks[static_cast<std::size_t>(place.rank)].expert_ids.data() + place.row * top_k;
}

std::vector<float> Records::gather(FieldShape shape) const {
    std::vector<float> values(tokens_->ids.size() * static_cast<std::size_t>(shape.cols));
    for (const Place& place : places_) {
        const float* row = floats(shape.field, place);
        std::copy(row, row + shape.cols, values.begin() + place.token * shape.cols);
    }
    return values;
}

std::vector<std::int64_t> Records::coordinate(std::int64_t token, std::int64_t column) const {
    return {tokens_->sequence[static_cast<std::size_t>(token)], tokens_->position[static_cast<std::size_t>(token)],
            column};
}

}  // namespace shardproof::oracle
