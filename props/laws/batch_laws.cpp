#include "props/laws/batch_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "oracle/model/error.hpp"
#include "props/laws/variations.hpp"
#include "sim/prng.hpp"

namespace shardproof::props::batch {

namespace {

enum class Pad : std::uint8_t { random, zero, nan, infinite };
constexpr std::array kPads{"random", "zero", "NaN", "infinite"};

std::int64_t longest(const Batch& batch) {
    std::size_t length = 0;
    for (const Sequence& sequence : batch.sequences) length = std::max(length, sequence.ids.size());
    return static_cast<std::int64_t>(length);
}

// A token id that the batch does not use, or -1.
std::int64_t unused_id(const Batch& batch, std::int64_t vocab) {
    std::vector<bool> used(static_cast<std::size_t>(vocab), false);
    for (const Sequence& sequence : batch.sequences) {
        for (const std::int64_t id : sequence.ids) used[static_cast<std::size_t>(id)] = true;
    }
    const auto found = std::ranges::find(used, false);
    return found == used.end() ? -1 : found - used.begin();
}

// Little-endian, as the checkpoint stores it.
void fill_embedding(std::span<std::byte> row, DType dtype, Pad pad) {
    std::ranges::fill(row, pad == Pad::nan ? std::byte{0xFF} : std::byte{0});
    if (pad != Pad::infinite) return;
    const auto width = static_cast<std::size_t>(bits_of(dtype) / 8);
    const bool f16 = dtype == DType::F16;
    for (std::size_t at = 0; at < row.size(); at += width) {
        row[at + width - 1] = f16 ? std::byte{0x7C} : std::byte{0x7F};
        row[at + width - 2] = f16 ? std::byte{0} : std::byte{0x80};
    }
}

// The batch with a dummy sequence for each data-parallel rank, in front for the even ones, behind for the others.
struct Padded {
    Batch batch;
    std::int64_t tokens_in_front = 0;
};
Padded padded(const Batch& batch, std::int64_t num_dp, std::int64_t length, std::int64_t id, sim::Prng& prng) {
    Padded result;
    std::vector<Sequence> behind;
    for (std::int64_t dp = 0; dp < num_dp; ++dp) {
        Sequence dummy{.ids = {}, .dp_idx = dp};
        const auto tokens = static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(length))) + 1;
        dummy.ids.assign(static_cast<std::size_t>(tokens), id);
        if (dp % 2 == 0) {
            result.tokens_in_front += tokens;
            result.batch.sequences.push_back(std::move(dummy));
        } else {
            behind.push_back(std::move(dummy));
        }
    }
    std::vector<Sequence>& all = result.batch.sequences;
    all.insert(all.end(), batch.sequences.begin(), batch.sequences.end());
    all.insert(all.end(), behind.begin(), behind.end());
    return result;
}

std::optional<std::string> unsound_ids(const Place& place, std::int64_t num_experts) {
    const std::size_t k = place.record->expert_ids.size() / place.record->tokens.size();
    const std::span ids = std::span{place.record->expert_ids}.subspan(place.row * k, k);
    for (const ExpertId id : ids) {
        if (id.value() < 0 || id.value() >= num_experts)
            return fmt::format("chooses {}, which is no expert", id.value());
        if (std::ranges::count(ids, id) != 1) return fmt::format("chooses expert {} twice", id.value());
    }
    return std::nullopt;
}

// Token `there` of another run for each token of the case's run.
std::optional<std::string> tokens_differ(Subject& subject, const Result& other,
                                         const std::map<TokenId, TokenId>& tokens, std::int64_t but_logit) {
    const Result& mine = *subject.report().result;
    for (std::size_t s = 0; s < mine.stages.size(); ++s) {
        const StageRecord& stage = mine.stages[s];
        const auto here = places_of(stage);
        const auto there = places_of(other.stages[s]);
        for (const auto& [token, image] : tokens) {
            const std::int64_t but = stage.kind == StageKind::head ? but_logit : -1;
            const std::string_view what = token_difference(here.at(token), there.at(image), but);
            if (!what.empty())
                return fmt::format("{}, token {}: its {} has other bits", name_of(stage.kind, stage.layer),
                                   token.value(), what);
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> pads_change_nothing(Subject& subject) {
    if (subject.report().stall || subject.batch().num_tokens() == 0) return std::nullopt;
    const Model& model = subject.loaded_model();
    sim::Prng prng{subject.c().scheduler_seed ^ subject.c().model.seed};
    std::int64_t id = unused_id(subject.batch(), model.config.vocab_size);
    const Pad pad = id < 0 ? Pad::random : static_cast<Pad>(prng.below(kPads.size()));
    if (id < 0) id = 0;
    // No longer than the longest: dynamic RoPE looks at it.
    const std::int64_t length = std::min<std::int64_t>(longest(subject.batch()), 3);
    const Padded with = padded(subject.batch(), subject.plan().dims.batch(), length, id, prng);
    const Parameter& table = model.parameters.front();
    SP_ASSERT(table.role == Role::tok_embeddings);
    const DType dtype = dtype_of(model, table);
    const Model altered = altered_model(model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        if (pad == Pad::random || tensor != table.sources.front().tensor) return;
        const auto row = static_cast<std::size_t>(model.config.hidden_size * bits_of(dtype) / 8);
        fill_embedding(bytes.subspan(static_cast<std::size_t>(id) * row, row), dtype, pad);
    });
    const std::optional<Result> other = run_varied(subject, subject.plan(), altered, with.batch);
    const std::string_view kind = kPads.at(static_cast<std::size_t>(pad));
    if (!other) return fmt::format("with {} dummy tokens the run stalls", kind);

    const std::int64_t tokens = subject.batch().num_tokens();
    std::map<TokenId, TokenId> images;
    for (std::int64_t t = 0; t < tokens; ++t) images.emplace(t, with.tokens_in_front + t);
    // A tied head has the dummy token's logit in a column of its own.
    const std::int64_t but = model.config.tie_embeddings && pad != Pad::random ? id : -1;
    if (auto message = tokens_differ(subject, *other, images, but))
        return fmt::format("with {} dummy tokens {}", kind, *message);
    for (const StageRecord& stage : other->stages) {
        for (const auto& [token, place] : places_of(stage)) {
            if (auto why = place.record->expert_ids.empty() ? std::nullopt
                                                            : unsound_ids(place, model.config.router.num_experts))
                return fmt::format("{}, token {} of a batch with {} dummy tokens {}", name_of(stage.kind, stage.layer),
                                   token.value(), kind, *why);
        }
    }
    return std::nullopt;
}

std::optional<std::string> split_and_order_do_not_matter(Subject& subject) {
    if (subject.report().stall) return std::nullopt;
    const std::vector<Sequence>& sequences = subject.batch().sequences;
    const std::int64_t num_dp = subject.plan().dims.batch();
    const auto is_longest = [length = longest(subject.batch())](const Sequence& sequence) {
        return static_cast<std::int64_t>(sequence.ids.size()) == length;
    };
    // Dynamic RoPE looks at the longest sequence: it stays.
    const auto kept = static_cast<std::size_t>(std::ranges::find_if(sequences, is_longest) - sequences.begin());
    Batch part;
    std::map<TokenId, TokenId> images;
    std::int64_t next = 0;
    for (std::size_t i = sequences.size(); i-- > 0;) {
        if (i != kept && (i + subject.c().scheduler_seed) % 2 != 0) continue;
        part.sequences.push_back(sequences[i]);
        part.sequences.back().dp_idx = (sequences[i].dp_idx + 1) % num_dp;
        const std::int64_t first = subject.batch().first_token(i).value();
        for (std::size_t t = 0; t < sequences[i].ids.size(); ++t, ++next)
            images.emplace(first + static_cast<std::int64_t>(t), next);
    }
    const std::optional<Result> other = run_varied(subject, subject.plan(), subject.loaded_model(), part);
    if (!other) return "with a part of the sequences in another order the run stalls";
    if (auto message = tokens_differ(subject, *other, images, -1))
        return "with a part of the sequences in another order " + *message;
    return std::nullopt;
}

}  // namespace shardproof::props::batch
