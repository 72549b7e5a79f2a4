#include "props/laws/batch_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

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

// A run with dummy tokens: the batch, and the model where the dummies' embedding is what was drawn.
struct Dummies {
    Padded with;
    Model model;
    Pad pad;
    std::int64_t id;
    [[nodiscard]] std::string_view kind() const { return kPads.at(static_cast<std::size_t>(pad)); }
    // A tied head has the dummy token's logit in a column of its own; -1: it is like any other.
    [[nodiscard]] std::int64_t own_logit(const Subject& subject) const {
        return subject.model().config.tie_embeddings && pad != Pad::random ? id : -1;
    }
};

Dummies draw_dummies(const Subject& subject) {
    const Model& model = subject.loaded_model();
    sim::Prng prng{subject.c().scheduler_seed ^ subject.c().model.seed};
    std::int64_t id = unused_id(subject.batch(), model.config.vocab_size);
    const Pad pad = id < 0 ? Pad::random : static_cast<Pad>(prng.below(kPads.size()));
    if (id < 0) id = 0;
    // No longer than the longest: dynamic RoPE looks at it.
    const std::int64_t length = std::min<std::int64_t>(longest(subject.batch()), 3);
    Padded with = padded(subject.batch(), subject.plan().dims.batch(), length, id, prng);
    const Parameter& table = model.parameters.front();
    SP_ASSERT(table.role == Role::tok_embeddings);
    const DType dtype = dtype_of(model, table);
    Model altered = altered_model(model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        if (pad == Pad::random || tensor != table.sources.front().tensor) return;
        const auto row = static_cast<std::size_t>(model.config.hidden_size * bits_of(dtype) / 8);
        fill_embedding(bytes.subspan(static_cast<std::size_t>(id) * row, row), dtype, pad);
    });
    return {.with = std::move(with), .model = std::move(altered), .pad = pad, .id = id};
}

void keep_rows(Rows& rows, const std::vector<std::size_t>& kept) {
    std::vector<float> values;
    for (const std::size_t row : kept) {
        const float* from = rows.row(static_cast<std::int64_t>(row));
        values.insert(values.end(), from, from + rows.cols);
    }
    if (!rows.values.empty()) rows.values = std::move(values);
}

template <class T>
void keep_choices(std::vector<T>& choices, const std::vector<std::size_t>& kept, std::size_t num_rows) {
    if (choices.empty()) return;
    const std::size_t k = choices.size() / num_rows;
    std::vector<T> values;
    for (const std::size_t row : kept) {
        const auto from = choices.begin() + static_cast<std::ptrdiff_t>(row * k);
        values.insert(values.end(), from, from + static_cast<std::ptrdiff_t>(k));
    }
    choices = std::move(values);
}

// A stage as the batch alone would have recorded it: `count` tokens from `first` on, numbered anew.
StageRecord without_dummies(const StageRecord& stage, std::int64_t first, std::int64_t count) {
    StageRecord result = stage;
    for (RankRecord& record : result.ranks) {
        std::vector<std::size_t> kept;
        std::vector<TokenId> tokens;
        for (std::size_t row = 0; row < record.tokens.size(); ++row) {
            const std::int64_t token = record.tokens[row].value() - first;
            if (token < 0 || token >= count) continue;
            kept.push_back(row);
            tokens.emplace_back(token);
        }
        for (Rows* rows : {&record.input, &record.hidden, &record.output}) keep_rows(*rows, kept);
        keep_choices(record.expert_ids, kept, record.tokens.size());
        keep_choices(record.expert_weights, kept, record.tokens.size());
        record.tokens = std::move(tokens);
    }
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

// A token of the case's run, and which one it is in another run.
struct Image {
    TokenId here;
    TokenId there;
};

std::optional<std::string> tokens_differ(Subject& subject, const Result& other, const std::vector<Image>& images,
                                         std::int64_t but_logit) {
    const Result& mine = *subject.report().result;
    for (std::size_t s = 0; s < mine.stages.size(); ++s) {
        const StageRecord& stage = mine.stages[s];
        const auto here = places_of(stage);
        const auto there = places_of(other.stages[s]);
        for (const Image& image : images) {
            const std::int64_t but = stage.kind == StageKind::head ? but_logit : -1;
            const std::string_view what = token_difference(here.at(image.here), there.at(image.there), but);
            if (!what.empty())
                return fmt::format("{}, token {}: its {} has other bits", name_of(stage.kind, stage.layer),
                                   image.here.value(), what);
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> pads_change_nothing(Subject& subject) {
    if (subject.report().stall || subject.batch().num_tokens() == 0) return subject.nothing_to_look_at();
    const Dummies dummies = draw_dummies(subject);
    const std::optional<Result> other = run_varied(subject, subject.plan(), dummies.model, dummies.with.batch);
    if (!other) return fmt::format("with {} dummy tokens the run stalls", dummies.kind());

    std::vector<Image> images;
    for (std::int64_t t = 0; t < subject.batch().num_tokens(); ++t)
        images.push_back({TokenId{t}, TokenId{dummies.with.tokens_in_front + t}});
    if (auto message = tokens_differ(subject, *other, images, dummies.own_logit(subject)))
        return fmt::format("with {} dummy tokens {}", dummies.kind(), *message);
    for (const StageRecord& stage : other->stages) {
        for (const auto& [token, place] : places_of(stage)) {
            if (auto why = place.record->expert_ids.empty()
                               ? std::nullopt
                               : unsound_ids(place, subject.model().config.router.num_experts))
                return fmt::format("{}, token {} of a batch with {} dummy tokens {}", name_of(stage.kind, stage.layer),
                                   token.value(), dummies.kind(), *why);
        }
    }
    return std::nullopt;
}

std::optional<std::string> beside_pads_within_bounds(Subject& subject) {
    if (subject.report().stall || subject.batch().num_tokens() == 0) return subject.nothing_to_look_at();
    const Dummies dummies = draw_dummies(subject);
    const std::optional<Result> run = run_varied(subject, subject.plan(), dummies.model, dummies.with.batch);
    if (!run) return subject.nothing_to_look_at();  // another law's
    const ModelConfig& config = subject.model().config;
    oracle::Judge judge{config, subject.model().checkpoint, subject.batch(), subject.c().arithmetic};
    for (const StageRecord& stage : run->stages) {
        if (stage.kind == StageKind::head && dummies.own_logit(subject) >= 0) continue;  // the oracle knows another row
        const LayerVerdict verdict =
            judge.judge(without_dummies(stage, dummies.with.tokens_in_front, subject.batch().num_tokens()));
        if (!verdict.failure) continue;
        const Mismatch& m = *verdict.failure;
        return fmt::format("beside {} dummy tokens {} on rank {}, [{}]: got {}, want {}, bound {}: {}", dummies.kind(),
                           m.layer, m.rank.value(), fmt::join(m.coordinate, ","), m.got, m.want, m.bound, m.why);
    }
    return std::nullopt;
}

namespace {

// Indices of the sequences that have tokens, some left out, in a drawn order. The longest stays: dynamic RoPE looks at
// it.
std::vector<std::size_t> drawn_part(const std::vector<Sequence>& sequences, std::int64_t length, sim::Prng& prng) {
    constexpr std::uint64_t kOneInFour = 4;
    std::vector<std::size_t> part;
    bool has_longest = false;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        const bool is_longest = static_cast<std::int64_t>(sequences[i].ids.size()) == length && !has_longest;
        has_longest = has_longest || is_longest;
        if (!sequences[i].ids.empty() && (is_longest || prng.below(kOneInFour) != 0)) part.push_back(i);
    }
    for (std::size_t i = part.size(); i > 1; --i) std::swap(part[i - 1], part[prng.below(i)]);
    return part;
}

}  // namespace

std::optional<std::string> split_and_order_do_not_matter(Subject& subject) {
    if (subject.report().stall || subject.batch().num_tokens() == 0) return subject.nothing_to_look_at();
    const std::vector<Sequence>& sequences = subject.batch().sequences;
    const auto num_dp = static_cast<std::uint64_t>(subject.plan().dims.batch());
    sim::Prng prng{subject.c().scheduler_seed + 5 * subject.c().model.seed};
    std::vector<std::size_t> part = drawn_part(sequences, longest(subject.batch()), prng);
    const std::int64_t with_tokens =
        std::ranges::count_if(sequences, [](const Sequence& sequence) { return !sequence.ids.empty(); });
    const bool is_all_in_order = std::ssize(part) == with_tokens && std::ranges::is_sorted(part);
    if (is_all_in_order) part.push_back(part[prng.below(part.size())]);
    Batch other_batch;
    std::vector<Image> images;
    std::int64_t next = 0;
    for (const std::size_t i : part) {
        other_batch.sequences.push_back(sequences[i]);
        other_batch.sequences.back().dp_idx = static_cast<std::int64_t>(prng.below(num_dp));
        const std::int64_t first = subject.batch().first_token(i).value();
        for (std::size_t t = 0; t < sequences[i].ids.size(); ++t, ++next)
            images.push_back({TokenId{first + static_cast<std::int64_t>(t)}, TokenId{next}});
    }
    const std::optional<Result> other = run_varied(subject, subject.plan(), subject.loaded_model(), other_batch);
    if (!other) return "with a part of the sequences in another order the run stalls";
    if (auto message = tokens_differ(subject, *other, images, -1))
        return "with a part of the sequences in another order " + *message;
    return std::nullopt;
}

}  // namespace shardproof::props::batch
