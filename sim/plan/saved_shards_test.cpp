// There and back: what the ranks of any layout saved loads in any other, and gives the published tensors back.
#include "sim/plan/saved_shards.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "sim/plan/test_tensors.hpp"

namespace shardproof {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::Tensors;

constexpr DType kDType = DType::BF16;
const testing::Sizes kSizes{.experts = 10, .layers = 2, .hidden = 16, .vocab = 131, .dense_hidden = 24};

struct NamedPlan {
    std::string name;
    Plan plan;
};

// All that a rule set takes of worlds up to eight ranks, so that uneven cuts, empty shards and replicas are among them.
void append_plans(const RuleSet& rules, const RuleOptions& options, const std::string& note,
                  std::vector<NamedPlan>& plans) {
    const auto add = [&](const RawDims& raw) {
        try {
            std::vector<Parameter> parameters = testing::parameters_of(kSizes);
            const std::vector<DType> dtypes(parameters.size(), kDType);
            Plan plan = make_plan(testing::config_of(kSizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                                  rules, options);
            plans.push_back({fmt::format("{}{} r{} s{} c{} t{} e{} etp{}", rules.name, note, raw.dp_replicate,
                                         raw.dp_shard, raw.cp, raw.tp, raw.ep, raw.etp.value_or(0)),
                             std::move(plan)});
        } catch (const InputError&) {
            // not a layout of this rule set
        }
    };
    for (const std::int64_t replicate : {1, 2}) {
        for (const std::int64_t shard : {1, 2, 3, 4, 5}) {
            for (const std::int64_t cp : {1, 2}) {
                for (const std::int64_t tp : {1, 2, 4}) {
                    if (replicate * shard * cp * tp > 8) continue;
                    for (const std::int64_t ep : {1, 2, 3, 4, 5, 6, 8}) {
                        RawDims raw;
                        raw.dp_replicate = replicate;
                        raw.dp_shard = shard;
                        raw.cp = cp;
                        raw.tp = tp;
                        raw.ep = ep;
                        if (!rules.takes_etp) {
                            add(raw);
                            continue;
                        }
                        for (const std::int64_t etp : {1, 2, 3, 4}) {
                            raw.etp = etp;
                            add(raw);
                        }
                    }
                }
            }
        }
    }
}

// At most `count`, spread over all.
void thin(std::vector<NamedPlan>& plans, std::size_t count) {
    if (plans.size() <= count) return;
    std::vector<NamedPlan> kept;
    for (std::size_t i = 0; i < count; ++i) kept.push_back(std::move(plans[i * (plans.size() - 1) / (count - 1)]));
    plans = std::move(kept);
}

std::vector<NamedPlan> all_plans() {
    constexpr std::size_t kEach = 9;
    const RuleOptions round_robin{.expert_order = ExpertOrder::round_robin};
    const RuleOptions redundant{.expert_map = {{9, 1, 2, 3, 0, 4, 5, 6, 7, 0, 8, 9}}, .expert_map_file = "map"};
    std::vector<NamedPlan> plans;
    const auto append = [&](const char* rules, const RuleOptions& options = {}, const char* note = "") {
        std::vector<NamedPlan> of_rules;
        append_plans(rule_set_named(rules), options, note, of_rules);
        EXPECT_GE(of_rules.size(), 3U) << rules << note;
        thin(of_rules, kEach);
        std::ranges::move(of_rules, std::back_inserter(plans));
    };
    for (const char* rules : {"titan-train", "titan-infer", "titan-infer-fsdp", "vllm", "megatron"}) append(rules);
    append("vllm", round_robin, " round-robin");
    append("vllm", redundant, " redundant");
    return plans;
}

// What the ranks of a plan saved, one shard of each kind, and the parameters that read it.
struct Saved {
    Bytes file;
    std::vector<Parameter> parameters;
};

// Each rank's shards but those that an earlier rank has as well.
std::vector<std::pair<Rank, std::vector<IndexRuns>>> distinct_shards(const Plan& plan, std::size_t p) {
    std::vector<std::pair<Rank, std::vector<IndexRuns>>> distinct;
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        std::vector<IndexRuns> index = shard_of(plan, p, Rank{r});
        const auto same = [&](const auto& other) { return other.second == index; };
        if (std::ranges::none_of(distinct, same)) distinct.emplace_back(Rank{r}, std::move(index));
    }
    return distinct;
}

Saved save(const Plan& plan, const Checkpoint& checkpoint) {
    Saved saved;
    Tensors shards;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        std::vector<SavedShard> of_param;
        for (auto& [rank, index] : distinct_shards(plan, p)) {
            const LoadPlan load_plan = make_load_plan(parameter, kDType, index);
            const std::string name = fmt::format("rank_{:05}/{}", rank.value(), parameter.name);
            shards[name] = {kDType, load_plan.shape, testing::loaded(load_plan, checkpoint)};
            of_param.push_back({name, std::move(index)});
        }
        AssembledParam assembled = assemble(parameter.shape, of_param);
        EXPECT_TRUE(assembled.uncovered.empty()) << parameter.name;
        saved.parameters.push_back(parameter);
        saved.parameters.back().sources = std::move(assembled.sources);
    }
    saved.file = testing::file_of(shards);
    return saved;
}

std::vector<IndexRuns> whole_index(const Shape& shape) {
    std::vector<IndexRuns> index;
    for (const std::int64_t extent : shape) index.push_back({{0, extent}});
    return index;
}

class ThereAndBack : public ::testing::Test {
protected:
    const Tensors tensors_ = testing::tensors_of(testing::parameters_of(kSizes), kDType);
    const Bytes file_ = testing::file_of(tensors_);
    const Checkpoint checkpoint_ = testing::checkpoint_of(file_);
    const std::vector<NamedPlan> plans_ = all_plans();
};

TEST_F(ThereAndBack, SavedByAnyLayoutLoadsInAnyOtherBitForBit) {
    ASSERT_GE(plans_.size(), 40U);
    struct Wanted {
        std::size_t param_idx;
        std::vector<IndexRuns> index;
        Bytes bytes;
    };
    std::vector<std::vector<Wanted>> wanted(plans_.size());
    for (std::size_t b = 0; b < plans_.size(); ++b) {
        const Plan& plan = plans_[b].plan;
        for (std::size_t p = 0; p < plan.params.size(); ++p) {
            for (auto& [rank, index] : distinct_shards(plan, p)) {
                Bytes bytes = testing::loaded(make_load_plan(plan.params[p].parameter, kDType, index), checkpoint_);
                wanted[b].push_back({p, std::move(index), std::move(bytes)});
            }
        }
    }
    for (const NamedPlan& from : plans_) {
        const Saved saved = save(from.plan, checkpoint_);
        const Checkpoint shards = testing::checkpoint_of(saved.file);
        for (std::size_t b = 0; b < plans_.size(); ++b) {
            for (const Wanted& want : wanted[b]) {
                const LoadPlan load_plan = make_load_plan(saved.parameters[want.param_idx], kDType, want.index);
                ASSERT_EQ(load_plan.bytes_read(), load_plan.shard_bytes());
                ASSERT_EQ(testing::loaded(load_plan, shards), want.bytes)
                    << from.name << " to " << plans_[b].name << ": " << load_plan.param;
            }
        }
    }
}

TEST_F(ThereAndBack, AnyLayoutGivesThePublishedTensorsBack) {
    const std::vector<Parameter> published = testing::parameters_of(kSizes);
    for (const NamedPlan& from : plans_) {
        const Saved saved = save(from.plan, checkpoint_);
        const Checkpoint shards = testing::checkpoint_of(saved.file);
        const std::vector<Parameter> back = published_tensors(published, saved.parameters);
        ASSERT_EQ(back.size(), tensors_.size());
        for (const Parameter& tensor : back) {
            ASSERT_EQ(num_uncovered(tensor), 0) << tensor.name;
            ASSERT_EQ(testing::loaded(make_load_plan(tensor, kDType, whole_index(tensor.shape)), shards),
                      tensors_.at(tensor.name).bytes)
                << from.name << ": " << tensor.name;
        }
    }
}

// Sources that are no plain slices: halves of a fused and transposed tensor, and tensors that tile a middle dim.
TEST(PublishedTensors, ComeBackFromFusedTransposedAndTiledSources) {
    for (const std::vector<Parameter>& published :
         {testing::fused_experts(4, 6, 5), testing::halved_experts(4, 7, 5)}) {
        const Tensors tensors = testing::tensors_of(published, kDType);
        const Bytes file = testing::file_of(tensors);
        std::vector<Parameter> saved = published;
        Tensors shards;
        for (Parameter& parameter : saved) {
            std::vector<SavedShard> of_param;
            for (const IndexRuns& experts : {IndexRuns{{0, 1}}, IndexRuns{{1, 4}}}) {
                for (const IndexRuns& rows : {IndexRuns{{0, 2}, {5, 6}}, IndexRuns{{2, 5}, {6, parameter.shape[1]}}}) {
                    const std::vector<IndexRuns> index{experts, rows, IndexRuns{{0, 5}}};
                    const LoadPlan plan = make_load_plan(parameter, kDType, index);
                    const std::string name = fmt::format("{}/{}", of_param.size(), parameter.name);
                    shards[name] = {kDType, plan.shape, testing::loaded(plan, testing::checkpoint_of(file))};
                    of_param.push_back({name, index});
                }
            }
            AssembledParam assembled = assemble(parameter.shape, of_param);
            ASSERT_TRUE(assembled.uncovered.empty());
            parameter.sources = std::move(assembled.sources);
        }
        const Bytes saved_file = testing::file_of(shards);
        for (const Parameter& tensor : published_tensors(published, saved)) {
            EXPECT_EQ(num_uncovered(tensor), 0);
            EXPECT_EQ(testing::loaded(make_load_plan(tensor, kDType, whole_index(tensor.shape)),
                                      testing::checkpoint_of(saved_file)),
                      tensors.at(tensor.name).bytes);
        }
    }
}

TEST(Assemble, SaysWhatNoShardHoldsAndWhichShardsOverlap) {
    const AssembledParam lacking = assemble({4, 6}, std::vector<SavedShard>{{"a", {{{0, 4}}, {{0, 2}, {3, 4}}}}});
    EXPECT_THAT(lacking.uncovered, ElementsAre(Box{{0, 4}, {2, 3}}, Box{{0, 4}, {4, 6}}));
    EXPECT_THAT(lacking.doubled, ElementsAre());
    const AssembledParam doubled = assemble(
        {8}, std::vector<SavedShard>{{"a", {{{0, 5}}}}, {"empty", {{}}}, {"b", {{{4, 8}}}}, {"c", {{{6, 7}, {6, 7}}}}});
    EXPECT_THAT(doubled.uncovered, ElementsAre());
    EXPECT_THAT(doubled.doubled, ElementsAre(2, 3));
    ASSERT_EQ(doubled.sources.size(), 2U);
    EXPECT_EQ(doubled.sources[1].param_box, (Box{{5, 8}}));
    EXPECT_EQ(doubled.sources[1].tensor_begin, (std::vector<std::int64_t>{1}));  // b's first element is a's last
}

TEST(PublishedTensors, CountWhatNoShardHolds) {
    const std::vector<Parameter> published = testing::halved_experts(2, 4, 3);
    std::vector<Parameter> saved = published;
    saved[0].sources = assemble(saved[0].shape, std::vector<SavedShard>{{"a", {{{0, 1}}, {{0, 4}}, {{0, 3}}}}}).sources;
    const std::vector<Parameter> tensors = published_tensors(published, saved);
    ASSERT_EQ(tensors.size(), 2U);
    EXPECT_EQ(num_uncovered(tensors[0]), 6);
    EXPECT_EQ(num_uncovered(tensors[1]), 6);
}

}  // namespace
}  // namespace shardproof
