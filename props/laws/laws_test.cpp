// Every law is seen to hold on a case and to break on a fault planted in it: a law that nothing breaks proves nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>

#include "oracle/model/error.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/dispatch_mutants.hpp"
#include "props/mutants/group_mutants.hpp"
#include "props/mutants/loading_mutants.hpp"
#include "props/mutants/router_mutants.hpp"
#include "props/mutants/row_mutants.hpp"
#include "sim/rank_state.hpp"

namespace shardproof::props {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A healthy plan with its sparse mesh twice as large as the world.
std::optional<Planted> mesh_too_large(const Healthy& healthy) {
    Planted planted;
    planted.plan = healthy.plan;
    const ParallelDims& dims = healthy.plan.dims;
    planted.plan->meshes.sparse = Mesh::row_major("sparse", {{Axis::pp, 1},
                                                             {Axis::dp_replicate, dims.dp_replicate()},
                                                             {Axis::efsdp, 2 * dims.efsdp()},
                                                             {Axis::ep, dims.ep()}});
    return planted;
}

// Both ranks of an fsdp group hold the first row of the embeddings, none the others.
std::optional<Planted> one_row_twice(const Healthy& healthy) {
    Planted planted;
    planted.plan = healthy.plan;
    ParamPlan& param = planted.plan->params.front();
    param.placement.placements[planted.plan->mesh(param.placement.mesh).axis_idx(Axis::fsdp)] =
        Owners{0, {{{0, 1}}, {{0, 1}}}};
    return planted;
}

std::optional<Planted> drops_a_copy(const Healthy&) {
    Planted planted;
    planted.faults.on_load = [](Rank rank, std::size_t param_idx, LoadPlan& load_plan) {
        if (rank == Rank{0} && param_idx == 0) load_plan.copies.pop_back();
    };
    return planted;
}

std::optional<Planted> saves_a_copy_less(const Healthy&) {
    Planted planted;
    planted.on_save = [](Rank rank, std::size_t param_idx, LoadPlan& store_plan) {
        if (rank == Rank{0} && param_idx == 0) store_plan.copies.pop_back();
    };
    return planted;
}

// Each norm before attention is saved for the one behind it, and the reverse.
std::optional<Planted> saves_norms_crosswise(const Healthy&) {
    Planted planted;
    planted.on_save = [](Rank, std::size_t, LoadPlan& store_plan) {
        constexpr std::string_view kBefore = "input_layernorm";
        constexpr std::string_view kBehind = "post_attention_layernorm";
        for (std::string& name : store_plan.tensors) {
            const bool before = name.find(kBefore) != std::string::npos;
            const std::string_view mine = before ? kBefore : kBehind;
            if (const std::size_t at = name.find(mine); at != std::string::npos)
                name.replace(at, mine.size(), before ? kBehind : kBefore);
        }
    };
    return planted;
}

// Ranks load the first experts and save them under these ids: nobody contradicts, and the others are missing.
std::optional<Planted> first_experts_saved(const Healthy& healthy) {
    std::optional<Planted> planted = mutant::first_experts_everywhere(healthy);
    planted->on_save = mutant::saved_under_local_ids(healthy)->on_save;
    return planted;
}

// Everything travels in half the bytes that its values take.
std::optional<Planted> all_travels_narrow(const Healthy&) {
    Planted planted;
    planted.faults.on_call = [](Rank, sim::CollectiveCall& call) {
        if (call.dtype == DType::F32) call.dtype = DType::BF16;
        return sim::Participation::joins;
    };
    return planted;
}

// The ranks of data-parallel rank 0 agree to leave out a sum: nobody waits, all the same they are out of step.
std::optional<Planted> group_skips_a_sum(const Healthy& healthy) {
    Planted planted;
    const std::int64_t tp = healthy.plan.dims.tp();
    planted.faults.on_call = [tp](Rank rank, sim::CollectiveCall& call) {
        const bool skips = rank.value() < tp && call.kind == sim::CollectiveKind::all_reduce;
        return skips ? sim::Participation::skips : sim::Participation::joins;
    };
    return planted;
}

Planted with_routing(std::function<void(Rank, std::int64_t, sim::Routing&)> on_routing) {
    Planted planted;
    planted.faults.on_routing = std::move(on_routing);
    return planted;
}

std::optional<Planted> chooses_twice(const Healthy&) {
    return with_routing([](Rank, std::int64_t, sim::Routing& routing) {
        for (std::size_t i = 1; i < routing.expert_ids.size(); i += 2)
            routing.expert_ids[i] = routing.expert_ids[i - 1];
    });
}

std::optional<Planted> weights_halved(const Healthy&) {
    return with_routing([](Rank, std::int64_t, sim::Routing& routing) {
        for (float& weight : routing.weights) weight /= 2;
    });
}

std::optional<Planted> ties_to_the_highest(const Healthy&) {
    return with_routing([](Rank, std::int64_t, sim::Routing& routing) {
        for (ExpertId& id : routing.expert_ids) id = ExpertId{id.value() | 1};
    });
}

std::optional<Planted> weights_shifted(const Healthy&) {
    return with_routing([](Rank, std::int64_t, sim::Routing& routing) {
        for (float& weight : routing.weights) weight += 0.5F;
    });
}

std::optional<Planted> next_best(const Healthy&) {
    return with_routing([](Rank, std::int64_t, sim::Routing& routing) {
        if (routing.top_k == 2 && !routing.expert_ids.empty()) std::swap(routing.expert_ids[0], routing.expert_ids[1]);
    });
}

// Whoever comes first in a run gets other weights: the scheduler shows.
std::optional<Planted> first_come_first_served(const Healthy& healthy) {
    auto calls = std::make_shared<std::int64_t>(0);
    const std::int64_t calls_of_a_run = healthy.plan.dims.world();  // one MoE layer
    return with_routing([calls, calls_of_a_run](Rank, std::int64_t, sim::Routing& routing) {
        if ((*calls)++ % calls_of_a_run != 0) return;
        for (float& weight : routing.weights) weight /= 2;
    });
}

// The plans that the law looks at, made after the run's, announce a row too many.
std::optional<Planted> announces_too_many(const Healthy& healthy) {
    auto calls = std::make_shared<std::int64_t>(0);
    const std::int64_t calls_of_a_run = healthy.plan.dims.world();
    Planted planted;
    planted.faults.on_dispatch = [calls, calls_of_a_run](Rank, std::int64_t, DispatchPlan& dispatch, DispatchPlan&) {
        if ((*calls)++ >= calls_of_a_run) ++dispatch.rows_to_peer[0];
    };
    return planted;
}

std::optional<Planted> loses_a_row(const Healthy& healthy) {
    auto planted = announces_too_many(healthy);
    planted->faults.on_dispatch = [inner = planted->faults.on_dispatch](Rank rank, std::int64_t layer,
                                                                        DispatchPlan& dispatch, DispatchPlan& combine) {
        const std::int64_t before = dispatch.rows_to_peer[0];
        inner(rank, layer, dispatch, combine);
        if (dispatch.rows_to_peer[0] != before) --dispatch.rows_to_held[0];
    };
    return planted;
}

Planted with_rows(std::function<void(const sim::RankState&, Rows&)> on_mlp_rows) {
    Planted planted;
    planted.faults.on_mlp_rows = std::move(on_mlp_rows);
    return planted;
}

// What a row gets depends on how many there are.
std::optional<Planted> rows_look_at_their_number(const Healthy&) {
    return with_rows([](const sim::RankState& state, Rows& rows) {
        for (float& value : rows.values) value *= 1.0F + static_cast<float>(state.tokens.size());
    });
}

std::optional<Planted> magnitudes_only(const Healthy&) {
    return with_rows([](const sim::RankState&, Rows& rows) {
        for (float& value : rows.values) value = std::abs(value);
    });
}

// Odd functions: they keep zero and every sign.
std::optional<Planted> rows_cubed(const Healthy&) {
    return with_rows([](const sim::RankState&, Rows& rows) {
        for (float& value : rows.values) value = value * value * value;
    });
}

std::optional<Planted> rows_squashed(const Healthy&) {
    return with_rows([](const sim::RankState&, Rows& rows) {
        for (float& value : rows.values) value = std::tanh(value);
    });
}

std::optional<Planted> blind_judge(const Healthy&) {
    Planted planted;
    planted.judge = [](oracle::Judge& judge, const StageRecord& recorded, const StageRecord&) {
        return judge.judge(recorded);
    };
    return planted;
}

std::optional<Planted> judge_with_wide_bounds(const Healthy&) {
    Planted planted;
    planted.judge = [](oracle::Judge& judge, const StageRecord&, const StageRecord& moved) {
        LayerVerdict verdict = judge.judge(moved);
        constexpr double kTooWide = 8;
        if (verdict.failure &&
            std::abs(verdict.failure->got - verdict.failure->want) <= kTooWide * verdict.failure->bound + 1e-300) {
            verdict.ok = true;
            verdict.failure.reset();
        }
        return verdict;
    };
    return planted;
}

std::optional<Planted> judge_that_points_elsewhere(const Healthy&) {
    Planted planted;
    planted.judge = [calls = std::make_shared<std::int64_t>(0)](oracle::Judge& judge, const StageRecord&,
                                                                const StageRecord& moved) {
        LayerVerdict verdict = judge.judge(moved);
        if (verdict.failure) verdict.failure->coordinate.back() += (*calls)++;
        return verdict;
    };
    return planted;
}

struct BrokenLaw {
    const char* test_name;
    const char* law;
    const char* line;
    std::optional<Planted> (*plant)(const Healthy&);
    const char* message;
};

constexpr const char* kTwoRanks = "dp_shard=2,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3+1:2,scheduler=1";
constexpr const char* kFourRanks =
    "dp_shard=4,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3+1:2+2:1,scheduler=1";
constexpr const char* kTwoByTwo =
    "dp_shard=2,tp=2,ep=4,experts=8,top_k=2,heads=2,kv_heads=2,moe_hidden=3,vocab=5,seqs=0:3+1:2";
constexpr const char* kReplicas = "rules=titan-infer,dp_shard=2,experts=2,vocab=5,seqs=0:3+1:2";
constexpr const char* kTies = "dp_shard=2,ep=2,experts=4,moe_hidden=3,vocab=5,seqs=0:3+1:2,routing=exact_ties";

constexpr const char* kTwoOfOneRank =
    "dp_shard=2,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3+0:2+1:1,scheduler=2";
constexpr const char* kNanPads = "dp_shard=2,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=17,seqs=0:3+1:2,scheduler=2";
constexpr const char* kScaled =
    "dp_shard=2,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3+1:2,scale=2.5,norm_topk=1,scheduler=1";
constexpr const char* kScaledNegative =
    "dp_shard=2,ep=2,experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3+1:2,scale=2.5,score=sigmoid,scheduler=2";

const BrokenLaw kBroken[] = {
    {"mesh_size", "mesh.groups_partition", kTwoRanks, mesh_too_large, "a group holds rank 2 of a world of 2"},
    {"mesh_of_experts", "mesh.groups_partition", kFourRanks, mutant::mesh_of_num_experts, "the degree is"},
    {"mesh_ranks", "mesh.bijection", kTwoRanks, mesh_too_large, "has 4 ranks, the world 2"},
    {"mesh_order", "mesh.innermost_are_neighbours", kFourRanks, mutant::swapped_expert_axes, "member 1 of rank 0"},
    {"held_twice", "layout.held_as_often_as_replicas", kTwoRanks, one_row_twice,
     "is held by 2 ranks, its replicas are 1"},
    {"wrong_experts_joined", "layout.reassembles", kTwoRanks, mutant::first_experts_everywhere, "brings other bits"},
    {"fused_block_joined", "layout.reassembles", "tp=2,heads=2,kv_heads=2,experts=2,moe_hidden=4,vocab=5,seqs=0:3",
     mutant::fused_block, "brings other bits"},
    {"copy_dropped", "loading.writes_every_byte", kTwoRanks, drops_a_copy, "were never written"},
    {"wrong_experts", "loading.right_bytes", kTwoRanks, mutant::first_experts_everywhere, "moe.experts.w1"},
    {"swapped_gate", "loading.right_bytes", kTwoRanks, mutant::swapped_gate_and_up, "moe.experts.w1"},
    {"unplanned", "loading.reads_only_planned_bytes", kTwoRanks, mutant::first_experts_everywhere,
     "reads bytes that its plan does not name"},
    {"deadlock", "world.ends", "dp_shard=2,ep=2,experts=4,vocab=5,seqs=0:3", mutant::idle_rank_skips_exchange,
     "deadlock: rank 0 waits in all_to_all"},
    {"group_size", "world.ends", kFourRanks, mutant::communicator_of_num_experts, "mismatched collective"},
    {"out_of_step", "world.ranks_are_in_step", kTwoByTwo, group_skips_a_sum, "rank 2 takes part in all_reduce"},
    {"combine_order", "model.within_bounds", kTwoRanks, mutant::combine_in_dispatched_order, "output differs"},
    {"chosen_twice", "router.choices_are_sound", kTwoRanks, chooses_twice, "is chosen twice"},
    {"weights_sum", "router.choices_are_sound", "experts=4,top_k=2,norm_topk=1,vocab=5,seqs=0:3", weights_halved,
     "the weights sum to 0."},
    {"tie", "router.ties_to_the_lowest", kTies, ties_to_the_highest, "is chosen without its equal"},
    {"announced", "dispatch.counts_agree", kTwoRanks, announces_too_many, "which expects"},
    {"lost", "dispatch.counts_agree", kTwoRanks, loses_a_row, "tokens * top_k is"},
    {"combine_tags", "dispatch.combine_inverts_dispatch", kTwoRanks, mutant::combine_in_dispatched_order,
     "takes token row"},
    {"combine_integers", "dispatch.scaling_experts_are_exact", kTwoRanks, mutant::combine_in_dispatched_order,
     "came back, not"},
    {"schedule", "world.any_schedule", kFourRanks, first_come_first_served, "differ between scheduler seeds 1 and 2"},
    {"layouts", "world.layouts_agree", kFourRanks, weights_halved, "other bits than under"},
    {"saved_locally", "loading.saved_here_loads_elsewhere", kTwoRanks, mutant::saved_under_local_ids,
     "saves other bytes of"},
    {"saved_nowhere", "loading.saved_here_loads_elsewhere", kTwoRanks, first_experts_saved, "is not saved"},
    {"saved_crosswise", "loading.saved_here_loads_elsewhere", kTwoRanks, saves_norms_crosswise,
     "other bits than from the checkpoint itself"},
    {"saved_short", "loading.saved_here_loads_elsewhere", kReplicas, saves_a_copy_less, "bytes of a shard of"},
    {"saved_replicas", "loading.saved_here_loads_elsewhere", kReplicas, drops_a_copy, "than a rank before it"},
    {"beside_nan", "batch.beside_pads_within_bounds", kNanPads, mutant::scale_over_pad_rows,
     "beside NaN dummy tokens layers.0"},
    {"beside_pads_second_load", "batch.beside_pads_within_bounds", kNanPads, mutant::second_load_swapped,
     "output differs"},
    {"pads", "batch.pads_change_nothing", kTwoRanks, rows_look_at_their_number, "its output has other bits"},
    {"pads_of_nan", "batch.pads_change_nothing", kNanPads, mutant::scale_over_pad_rows,
     "with NaN dummy tokens layers.0"},
    {"pads_choose", "batch.pads_change_nothing", kNanPads, mutant::nan_row_chooses_one, "chooses expert 0 twice"},
    {"split", "batch.split_and_order_do_not_matter", kTwoOfOneRank, rows_look_at_their_number,
     "in another order layers.0, token"},
    {"split_of_one_sequence", "batch.split_and_order_do_not_matter", "experts=4,top_k=2,moe_hidden=3,vocab=5,seqs=0:3",
     rows_look_at_their_number, "in another order layers.0, token"},
    {"shared_twice", "experts.output_is_linear", kTwoByTwo, mutant::replicated_term_before_the_sum, "with w2 = 0"},
    {"no_sign", "experts.output_is_linear", kTwoRanks, magnitudes_only, "with -2 w2"},
    {"odd", "experts.output_is_linear", kTwoRanks, rows_cubed, "with -2 w2"},
    {"odd_and_bounded", "experts.output_is_linear", kTwoRanks, rows_squashed, "with -2 w2"},
    {"scale_twice", "experts.scale_applies_once", kScaled, mutant::scale_twice, "with scale * -2"},
    {"scale_odd", "experts.scale_applies_once", kScaledNegative, rows_cubed, "with scale * -2"},
    {"scale_sign", "experts.scale_applies_once", kScaledNegative, magnitudes_only, "with scale * -2"},
    {"scale_never", "experts.scale_applies_once", kScaled, mutant::scale_never, "with scale * -2"},
    {"scale_unrecorded", "experts.scale_applies_once", kScaled, weights_shifted, "becomes"},
    {"softmax_last", "experts.top_k_is_of_all_scores", kTwoRanks, mutant::softmax_after_top_k,
     "its share of all scores"},
    {"other_choice", "experts.top_k_is_of_all_scores", kTwoRanks, next_best, "of all experts it is"},
    {"order_of_experts", "experts.order_does_not_matter", kTwoRanks, mutant::masked_with_expert_zero,
     "with experts in the order"},
    {"narrow", "cost.forecast_is_count", kTwoByTwo, all_travels_narrow, "counted, not forecast"},
    {"blind", "judge.sees_four_bounds", kTwoByTwo, blind_judge, "an element moved to"},
    {"wide", "judge.sees_four_bounds", kTwoByTwo, judge_with_wide_bounds, "passes where"},
    {"elsewhere", "judge.sees_four_bounds", kTwoByTwo, judge_that_points_elsewhere, "the judge names"},
};

void PrintTo(const BrokenLaw& row, std::ostream* out) { *out << row.law; }

class EachLaw : public ::testing::TestWithParam<BrokenLaw> {};

TEST_P(EachLaw, HoldsUntilItsFaultIsPlanted) {
    const Law* law = laws_named(GetParam().law).front();
    const Case c = parse_case(GetParam().line);
    Subject healthy{c};
    const auto held = try_law(*law, healthy);
    ASSERT_FALSE(held) << held->law << ": " << held->message;
    Subject faulty{c, GetParam().plant};
    ASSERT_TRUE(faulty.is_planted());
    const auto broken = try_law(*law, faulty);
    ASSERT_TRUE(broken) << "the fault goes unseen";
    EXPECT_EQ(broken->law, GetParam().law) << broken->message;
    EXPECT_THAT(broken->message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Planted, EachLaw, ::testing::ValuesIn(kBroken),
                         [](const auto& row) { return std::string{row.param.test_name}; });

TEST(Laws, AreAllSeenBroken) {
    std::set<std::string> seen;
    for (const BrokenLaw& row : kBroken) seen.insert(row.law);
    for (const Law& law : laws()) EXPECT_TRUE(seen.contains(std::string{law.name})) << law.name;
}

TEST(Laws, ACrashBreaksNoCrash) {
    Subject subject{parse_case(kTwoRanks), [](const Healthy&) -> std::optional<Planted> {
                        Planted planted;
                        planted.faults.on_load = [](Rank, std::size_t, LoadPlan&) { throw BugError{"planted"}; };
                        return planted;
                    }};
    const auto broken = try_law(*laws_named("world.ends").front(), subject);
    ASSERT_TRUE(broken);
    EXPECT_EQ(broken->law, kNoCrash);
    EXPECT_EQ(broken->message, "planted");
}

TEST(Laws, AreFoundByNameAndBySubject) {
    EXPECT_EQ(laws_named("mesh").size(), 3U);
    EXPECT_EQ(laws_named("mesh.bijection").size(), 1U);
    EXPECT_THAT([] { (void)laws_named("mes"); }, ThrowsMessage<InputError>(HasSubstr("--law=mes: must be a law")));
}

}  // namespace
}  // namespace shardproof::props
