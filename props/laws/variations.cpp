#include "props/laws/variations.hpp"

#include <algorithm>
#include <cstring>

namespace shardproof::props {

namespace {

template <class Value>
bool same_bits(const Value* a, const Value* b, std::size_t count) {
    return count == 0 || std::memcmp(a, b, count * sizeof(Value)) == 0;
}

bool same_row(const Rows& a, std::size_t a_row, const Rows& b, std::size_t b_row, std::int64_t but) {
    if (a.cols != b.cols) return false;
    if (a.values.empty() || b.values.empty()) return a.values.empty() == b.values.empty();
    const float* mine = a.values.data() + static_cast<std::int64_t>(a_row) * a.cols;
    const float* theirs = b.values.data() + static_cast<std::int64_t>(b_row) * b.cols;
    if (but < 0 || but >= a.cols) return same_bits(mine, theirs, static_cast<std::size_t>(a.cols));
    return same_bits(mine, theirs, static_cast<std::size_t>(but)) &&
           same_bits(mine + but + 1, theirs + but + 1, static_cast<std::size_t>(a.cols - but - 1));
}

}  // namespace

Model altered_model(const Model& model,
                    const std::function<void(std::string_view tensor, std::span<std::byte> bytes)>& edit) {
    const Checkpoint& checkpoint = model.checkpoint;
    return {model.name, model.config, checkpoint.with_sources([&](const std::shared_ptr<const ByteSource>& source) {
                const std::span<const std::byte> from = source->bytes();
                std::vector<std::byte> bytes(from.begin(), from.end());
                for (const auto& [name, item] : checkpoint.items()) {
                    if (checkpoint.files()[item.file_idx].shared_source() != source) continue;
                    const auto begin = static_cast<std::size_t>(item.entry->begin);
                    const auto end = static_cast<std::size_t>(item.entry->end);
                    edit(name, std::span{bytes}.subspan(begin, end - begin));
                }
                return own_bytes(std::move(bytes), source->name());
            }),
            model.parameters};
}

void negate(std::span<std::byte> bytes, DType dtype) {
    const auto width = static_cast<std::size_t>(bits_of(dtype) / 8);
    for (std::size_t at = width - 1; at < bytes.size(); at += width) bytes[at] ^= std::byte{0x80};
}

void twice(std::span<std::byte> bytes, DType dtype) {
    const auto width = static_cast<std::size_t>(bits_of(dtype) / 8);
    const std::uint32_t sign = width == 4 ? 0x8000'0000U : 0x8000U;
    std::uint32_t one = 0x80'0000U;  // of the exponent
    if (dtype == DType::BF16) one = 0x80U;
    if (dtype == DType::F16) one = 0x400U;
    const std::uint32_t infinite = (sign - 1) & ~(one - 1);
    for (std::size_t at = 0; at + width <= bytes.size(); at += width) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, bytes.data() + at, width);
        const std::uint32_t magnitude = bits & (sign - 1);
        if (magnitude >= infinite) continue;
        // A subnormal's bits are its value, up to where the exponent begins.
        const std::uint32_t doubled = magnitude < one ? 2 * magnitude : magnitude + one;
        bits = (bits & sign) | doubled;
        std::memcpy(bytes.data() + at, &bits, width);
    }
}

std::optional<Result> run_varied(const Subject& subject, const Plan& plan, const Model& model, const Batch& batch) {
    return run_plan(plan, model, batch, subject.c().arithmetic, subject.c().scheduler_seed, subject.faults());
}

std::map<TokenId, Place> places_of(const StageRecord& stage) {
    std::map<TokenId, Place> places;
    for (const RankRecord& record : stage.ranks) {
        for (std::size_t row = 0; row < record.tokens.size(); ++row)
            places.emplace(record.tokens[row], Place{&record, row});
    }
    return places;
}

std::string_view token_difference(const Place& a, const Place& b, std::int64_t but) {
    const RankRecord& mine = *a.record;
    const RankRecord& theirs = *b.record;
    if (!same_row(mine.input, a.row, theirs.input, b.row, -1)) return "input";
    if (!same_row(mine.hidden, a.row, theirs.hidden, b.row, -1)) return "hidden";
    const std::size_t k = mine.expert_ids.size() / mine.tokens.size();
    if (theirs.expert_ids.size() != k * theirs.tokens.size()) return "number of expert ids";
    if (!same_bits(mine.expert_ids.data() + a.row * k, theirs.expert_ids.data() + b.row * k, k)) return "expert ids";
    if (!same_bits(mine.expert_weights.data() + a.row * k, theirs.expert_weights.data() + b.row * k, k))
        return "expert weights";
    if (!same_row(mine.output, a.row, theirs.output, b.row, but)) return "output";
    return {};
}

std::optional<std::size_t> first_moe_stage(const ModelConfig& config) {
    const std::optional<std::int64_t> layer = config.first_moe_layer();
    if (!layer) return std::nullopt;
    return static_cast<std::size_t>(*layer) + 1;  // the embeddings are stage 0
}

}  // namespace shardproof::props
