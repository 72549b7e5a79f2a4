// For tests of the judge: an honest run on four ranks, to plant faults in.
#pragma once
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "oracle/dense_backend.hpp"
#include "oracle/judge.hpp"

namespace shardproof::oracle {

// Two sequences of 5 and 4 tokens on two data-parallel ranks of two tensor-parallel ranks each: rank = dp*2 + tp.
struct JudgedRun {
    explicit JudgedRun(const ModelConfig& config = tiny_config(), Arithmetic in = Arithmetic::f32,
                       TinyWeights spec = {})
        : arithmetic{in}, random{11}, model{config, random_checkpoint(config, spec, random)} {
        batch.sequences = {Sequence{{1, 2, 3, 4, 5}, 0}, Sequence{{6, 7, 8, 9}, 1}};
        const Style style{.arithmetic = in};
        for (const StageRecord& whole : DenseBackend{model, batch, style}.run()) stages.push_back(deal(whole));
    }

    // The record of all tokens, cut into those of four ranks.
    static StageRecord deal(const StageRecord& whole) {
        StageRecord dealt{whole.kind, whole.layer, std::vector<RankRecord>(4)};
        const RankRecord& all = whole.ranks[0];
        for (std::int64_t rank = 0; rank < 4; ++rank) {
            RankRecord& mine = dealt.ranks[static_cast<std::size_t>(rank)];
            const std::int64_t begin = rank < 2 ? 0 : 5;
            const std::int64_t end = rank < 2 ? 5 : 9;
            const auto cut = [&](const auto& from, std::int64_t cols, auto& to) {
                if (!from.empty()) to.assign(from.begin() + begin * cols, from.begin() + end * cols);
            };
            const auto cut_rows = [&](const Rows& from, Rows& to) {
                to.cols = from.cols;
                cut(from.values, from.cols, to.values);
            };
            cut(all.tokens, 1, mine.tokens);
            cut_rows(all.input, mine.input);
            cut_rows(all.hidden, mine.hidden);
            cut_rows(all.output, mine.output);
            cut(all.expert_ids, 2, mine.expert_ids);
            cut(all.expert_weights, 2, mine.expert_weights);
        }
        return dealt;
    }

    Verdict judge() const {
        Judge judge{model.config, model.checkpoint, batch, arithmetic};
        Verdict verdict;
        for (const StageRecord& stage : stages) verdict.layers.push_back(judge.judge(stage));
        return verdict;
    }
    Mismatch failure() const {
        const Verdict verdict = judge();
        EXPECT_FALSE(verdict.ok());
        return verdict.ok() ? Mismatch{} : *verdict.failure();
    }
    RankRecord& rank(std::size_t stage, std::size_t rank_idx) { return stages[stage].ranks[rank_idx]; }
    // The same change on both ranks of dp rank 1, which hold sequence 1: at its position 2.
    template <class Change>
    void on_replicas(std::size_t stage, Change change) {
        change(rank(stage, 2));
        change(rank(stage, 3));
    }
    // As above, and what the next stage was given.
    void move_output(std::size_t stage, std::int64_t column, float value) {
        on_replicas(stage, [&](RankRecord& record) { record.output.row(2)[column] = value; });
        if (stage + 1 < stages.size()) {
            on_replicas(stage + 1, [&](RankRecord& record) { record.input.row(2)[column] = value; });
        }
    }

    Arithmetic arithmetic;
    Random random;
    TinyModel model;
    Batch batch;
    std::vector<StageRecord> stages;  // embeddings, layer 0, head
};

inline ModelConfig two_layers() {
    ModelConfig config = tiny_config();
    config.num_layers = 2;
    config.mlp = {MlpKind::moe, MlpKind::dense};
    return config;
}

}  // namespace shardproof::oracle
