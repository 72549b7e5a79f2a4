#include "oracle/judge.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "oracle/bounded.hpp"
#include "oracle/bounded_block.hpp"
#include "oracle/bounded_experts.hpp"
#include "oracle/expert_ids.hpp"
#include "oracle/finding.hpp"
#include "oracle/linear.hpp"
#include "oracle/model/error.hpp"
#include "oracle/records.hpp"
#include "oracle/router.hpp"

namespace shardproof {

bool Verdict::ok() const {
    return std::all_of(layers.begin(), layers.end(), [](const LayerVerdict& layer) { return layer.ok; });
}

const Mismatch* Verdict::failure() const {
    for (const LayerVerdict& layer : layers) {
        if (layer.failure) return &*layer.failure;
    }
    return nullptr;
}

namespace oracle {
namespace {

Matrix as_matrix(const std::vector<float>& values, std::int64_t cols) {
    Matrix wide(static_cast<Index>(values.size()) / cols, cols);
    std::copy(values.begin(), values.end(), wide.data());
    return wide;
}

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

}  // namespace

struct Judge::Impl {
    Impl(const ModelConfig& model_config, const Checkpoint& checkpoint, const Batch& batch, Arithmetic in)
        : config{model_config},
          weights{config, checkpoint},
          arithmetic{in},
          roundoff{in},
          tokens{token_layout(batch)},
          rope{rope_table(config.rope(), config.heads().head_dim, tokens.longest)} {}

    void judge_embeddings(Records& records, Finding& finding);
    void judge_layer(std::int64_t layer, Records& records, Finding& finding, LayerVerdict& verdict);
    void judge_mlp(std::int64_t layer, const Records& records, Finding& finding, LayerVerdict& verdict) const;
    void judge_mlp_alone(std::int64_t layer, Records& records, Finding& finding, LayerVerdict& verdict) const;
    void judge_head(Records& records, Finding& finding);

    // The stage's input, checked against the output of the stage before; empty when a check failed.
    std::optional<Matrix> take_input(std::int64_t stage, const Records& records, Finding& finding) const;
    void keep_output(std::int64_t stage, const Records& records);
    void judge_attention(std::int64_t layer, const Matrix& input, Finding& finding) const;
    void judge_feed_forward(std::int64_t layer, const Matrix& hidden, Finding& finding) const;
    void judge_moe(std::int64_t layer, const Matrix& hidden, const Records& records, Finding& finding,
                   LayerVerdict& verdict) const;
    // The expert ids [N,K] of all tokens; empty when some are illegal.
    // `choice` [N,E]: what the top k are taken of, and its errors.
    std::vector<std::int64_t> judge_ids(const Bounded& choice, IdCheck check, const Records& records, Finding& finding,
                                        LayerVerdict& verdict) const;
    Bounded normed(const Matrix& x, const TensorView& weight) const {
        return rms_norm(exact(x), weight, config.rms_norm_eps, roundoff);
    }

    const ModelConfig config;
    const Weights weights;
    const Arithmetic arithmetic;
    const Roundoff roundoff;
    const TokenLayout tokens;
    const RopeTable rope;
    // Of the stage judged last: -1 is the embeddings, num_layers the head.
    std::optional<std::int64_t> previous_stage;
    std::vector<float> previous_output;  // [N,D]
};

std::optional<Matrix> Judge::Impl::take_input(std::int64_t stage, const Records& records, Finding& finding) const {
    const std::int64_t d = config.hidden_size;
    if (!finding.require(records.replicas_agree({Field::input, d}))) return std::nullopt;
    const std::vector<float> input = records.gather({Field::input, d});
    if (previous_stage == stage - 1) {
        for (const Records::Place& place : records.places()) {
            const float* got = input.data() + place.token * d;
            const float* want = previous_output.data() + place.token * d;
            const std::int64_t column = std::mismatch(got, got + d, want, same_bits).first - got;
            if (column == d) continue;
            finding.fail({.layer = {},
                          .rank = Rank{place.rank},
                          .coordinate = records.coordinate(place.token, column),
                          .got = got[column],
                          .want = want[column],
                          .bound = 0,
                          .why = "input differs from the previous output"});
            return std::nullopt;
        }
    }
    return as_matrix(input, d);
}

void Judge::Impl::keep_output(std::int64_t stage, const Records& records) {
    previous_stage = stage;
    previous_output = records.gather({Field::output, config.hidden_size});
}

void Judge::Impl::judge_embeddings(Records& records, Finding& finding) {
    const std::int64_t d = config.hidden_size;
    finding.enter("tok_embeddings");
    previous_stage.reset();
    if (!finding.require(records.index({{Field::output, d}}))) return;
    keep_output(-1, records);
    if (!finding.require(records.replicas_agree({Field::output, d}))) return;
    const TensorView table = weights.embeddings();
    Matrix rows(static_cast<Index>(tokens.ids.size()), d);
    for (Index row = 0; row < rows.rows(); ++row) {
        const std::int64_t id = tokens.ids[static_cast<std::size_t>(row)];
        rows.row(row) = widen_rows(table, id, id + 1);
    }
    if (arithmetic == Arithmetic::bf16) {
        const auto round = [](double x) { return static_cast<double>(round_to_bf16(static_cast<float>(x))); };
        rows = Matrix{rows.unaryExpr(round)};
    }
    finding.compare(Field::output, exact(std::move(rows)), "output differs");
    finding.settle();
}

void Judge::Impl::judge_layer(std::int64_t layer, Records& records, Finding& finding, LayerVerdict& verdict) {
    const std::int64_t d = config.hidden_size;
    const bool moe = config.is_moe(layer);
    const std::int64_t k = moe ? config.router.top_k : 0;
    const std::string name = name_of(StageKind::layer, layer);
    finding.enter(name + ".attention");
    const bool whole = finding.require(records.index({{Field::input, d},
                                                      {Field::hidden, d},
                                                      {Field::output, d},
                                                      {Field::expert_ids, k},
                                                      {Field::expert_weights, k}}));
    if (!whole) return previous_stage.reset();
    const std::optional<Matrix> input = take_input(layer, records, finding);
    keep_output(layer, records);
    if (!input || !finding.require(records.replicas_agree({Field::hidden, d}))) return;
    judge_attention(layer, *input, finding);
    if (!finding.failed()) judge_mlp(layer, records, finding, verdict);
}

void Judge::Impl::judge_mlp(std::int64_t layer, const Records& records, Finding& finding, LayerVerdict& verdict) const {
    const std::int64_t d = config.hidden_size;
    const bool moe = config.is_moe(layer);
    const std::int64_t k = moe ? config.router.top_k : 0;
    finding.enter(name_of(StageKind::layer, layer) + (moe ? ".moe" : ".feed_forward"));
    const Matrix hidden = as_matrix(records.gather({Field::hidden, d}), d);
    for (const FieldShape shape : {FieldShape{Field::expert_ids, k}, {Field::expert_weights, k}, {Field::output, d}}) {
        if (!finding.require(records.replicas_agree(shape))) return;
    }
    if (moe) {
        judge_moe(layer, hidden, records, finding, verdict);
    } else {
        judge_feed_forward(layer, hidden, finding);
    }
}

void Judge::Impl::judge_mlp_alone(std::int64_t layer, Records& records, Finding& finding, LayerVerdict& verdict) const {
    const std::int64_t d = config.hidden_size;
    const std::int64_t k = config.is_moe(layer) ? config.router.top_k : 0;
    finding.enter(name_of(StageKind::layer, layer));
    const bool whole = finding.require(
        records.index({{Field::hidden, d}, {Field::output, d}, {Field::expert_ids, k}, {Field::expert_weights, k}}));
    if (!whole || !finding.require(records.replicas_agree({Field::hidden, d}))) return;
    judge_mlp(layer, records, finding, verdict);
}

void Judge::Impl::judge_attention(std::int64_t layer, const Matrix& input, Finding& finding) const {
    const AttentionWeights own = weights.attention(layer);
    const Bounded x = normed(input, own.norm);
    const Bounded out = bounded_attention(config, layer, own, rope, tokens, x, roundoff);
    finding.compare(Field::hidden, add(input, out, roundoff), "output differs");
    finding.settle();
}

void Judge::Impl::judge_feed_forward(std::int64_t layer, const Matrix& hidden, Finding& finding) const {
    const Bounded x = normed(hidden, weights.mlp_norm(layer));
    const Bounded out =
        bounded_swiglu(x, weights.feed_forward(layer), roundoff, {.extra_terms = 0, .partial_roundings = 1});
    finding.compare(Field::output, add(hidden, out, roundoff), "output differs");
    finding.settle();
}

std::vector<std::int64_t> Judge::Impl::judge_ids(const Bounded& choice, IdCheck check, const Records& records,
                                                 Finding& finding, LayerVerdict& verdict) const {
    const std::int64_t k = config.router.top_k;
    std::vector<std::int64_t> ids(tokens.ids.size() * static_cast<std::size_t>(k));
    for (const Records::Place& place : records.places()) {
        const ExpertId* chosen = records.expert_ids(place, k);
        bool other = false;
        const std::optional<IdFault> fault =
            check.check(chosen, &choice.value(place.token, 0), &choice.error(place.token, 0), other);
        if (fault) {
            finding.fail({.layer = {},
                          .rank = Rank{place.rank},
                          .coordinate = records.coordinate(place.token, static_cast<std::int64_t>(fault->place)),
                          .got = static_cast<double>(fault->got),
                          .want = static_cast<double>(fault->want),
                          .bound = fault->bound,
                          .why = fault->why});
            return {};
        }
        verdict.tokens_with_other_ids += other ? 1 : 0;
        for (std::int64_t i = 0; i < k; ++i) ids[static_cast<std::size_t>(place.token * k + i)] = chosen[i].value();
    }
    return ids;
}

void Judge::Impl::judge_moe(std::int64_t layer, const Matrix& hidden, const Records& records, Finding& finding,
                            LayerVerdict& verdict) const {
    const Bounded x = normed(hidden, weights.mlp_norm(layer));
    const TensorView gate = weights.router(layer);
    Bounded logits = linear(x, gate, roundoff);
    std::vector<std::int64_t> twins = lowest_twins(gate);
    tie_twins(twins, {logits.value.data(), static_cast<std::size_t>(logits.value.size())});
    const ScoreBounds scores = bounded_scores(config.router, logits, roundoff);
    const Bounded& choice = config.router.choose_by == ChooseBy::logits ? logits : scores.scores;
    const std::vector<std::int64_t> ids =
        judge_ids(choice, IdCheck{config.router, std::move(twins)}, records, finding, verdict);
    if (finding.failed()) return;

    const Bounded expert_weights = bounded_weights(config.router, scores, ids, roundoff);
    finding.compare(Field::expert_weights, expert_weights, "expert weight differs");
    if (!finding.settle()) return;
    const auto expert = [&](std::int64_t e) { return weights.expert(layer, e); };
    Bounded out = bounded_experts(config.router, x, ids, expert_weights, expert, roundoff);
    if (config.shared_intermediate_size > 0) {
        // A rank may add its parts of routed and shared outputs before ranks add theirs.
        const LinearNotes notes{.extra_terms = config.router.top_k + 3, .partial_roundings = 2};
        out = add(out, bounded_swiglu(x, weights.shared_expert(layer), roundoff, notes), roundoff);
    }
    finding.compare(Field::output, add(hidden, out, roundoff), "output differs");
    finding.settle();
}

void Judge::Impl::judge_head(Records& records, Finding& finding) {
    finding.enter("lm_head");
    if (!finding.require(records.index({{Field::input, config.hidden_size}, {Field::output, config.vocab_size}})))
        return;
    const std::optional<Matrix> input = take_input(config.num_layers, records, finding);
    previous_stage.reset();
    if (!input || !finding.require(records.replicas_agree({Field::output, config.vocab_size}))) return;
    const Bounded x = normed(*input, weights.final_norm());
    const TensorView head = weights.head();
    for (Index begin = 0; begin < config.vocab_size; begin += rows_per_block(head)) {
        const Index end = std::min<Index>(config.vocab_size, begin + rows_per_block(head));
        finding.compare(Field::output, linear(x, head, begin, end, roundoff), "output differs", begin);
    }
    finding.settle();
}

Judge::Judge(const ModelConfig& config, const Checkpoint& checkpoint, const Batch& batch, Arithmetic arithmetic)
    : impl_{std::make_unique<Impl>(config, checkpoint, batch, arithmetic)} {}
Judge::~Judge() = default;
Judge::Judge(Judge&&) noexcept = default;

LayerVerdict Judge::judge(const StageRecord& stage) {
    LayerVerdict verdict;
    verdict.name = name_of(stage.kind, stage.layer);
    verdict.tokens = static_cast<std::int64_t>(impl_->tokens.ids.size());
    Records records{stage, impl_->tokens};
    Finding finding{records, verdict};
    if (stage.kind == StageKind::embeddings) {
        impl_->judge_embeddings(records, finding);
    } else if (stage.kind == StageKind::layer) {
        impl_->judge_layer(stage.layer, records, finding, verdict);
    } else {
        impl_->judge_head(records, finding);
    }
    return verdict;
}

LayerVerdict Judge::judge_mlp(const StageRecord& stage) const {
    SP_ASSERT(stage.kind == StageKind::layer);
    LayerVerdict verdict;
    verdict.name = name_of(stage.kind, stage.layer);
    verdict.tokens = static_cast<std::int64_t>(impl_->tokens.ids.size());
    Records records{stage, impl_->tokens};
    Finding finding{records, verdict};
    impl_->judge_mlp_alone(stage.layer, records, finding, verdict);
    return verdict;
}

}  // namespace oracle
}  // namespace shardproof
