// The table of laws.
#include <algorithm>
#include <array>
#include <exception>
#include <new>

#include "oracle/model/error.hpp"
#include "props/laws/batch_laws.hpp"
#include "props/laws/cost_laws.hpp"
#include "props/laws/dispatch_laws.hpp"
#include "props/laws/expert_laws.hpp"
#include "props/laws/law.hpp"
#include "props/laws/layout_laws.hpp"
#include "props/laws/loading_laws.hpp"
#include "props/laws/mesh_laws.hpp"
#include "props/laws/model_laws.hpp"
#include "props/laws/router_laws.hpp"
#include "props/laws/world_laws.hpp"

namespace shardproof::props {

namespace {

constexpr std::array kLaws{
    Law{"mesh.groups_partition", "each axis' groups have its degree's size and hold every rank once",
        mesh::groups_partition, LawKind::placement, 1},
    Law{"mesh.bijection", "rank to coordinates and back is the identity", mesh::bijection, LawKind::placement, 1},
    Law{"mesh.innermost_are_neighbours", "tp groups and ep groups are neighbouring ranks",
        mesh::innermost_are_neighbours, LawKind::placement, 1},
    Law{"layout.held_as_often_as_replicas", "every element of every parameter is held once a replica",
        layout::held_as_often_as_replicas, LawKind::placement, 4},
    Law{"layout.reassembles", "loaded shards put back together are the oracle's parameter, bit for bit",
        layout::reassembles, LawKind::loading, 16},
    Law{"loading.writes_every_byte", "no poison is left and bytes read are bytes planned", loading::writes_every_byte,
        LawKind::loading, 1},
    Law{"loading.right_bytes", "loaded bytes are those that the plan names", loading::right_bytes, LawKind::loading, 1},
    Law{"loading.reads_only_planned_bytes", "the same bits from a copy whose unplanned bytes are 0xFF",
        loading::reads_only_planned_bytes, LawKind::loading, 16},
    Law{"loading.saved_here_loads_elsewhere", "saved by these ranks, it loads under another layout, bit for bit",
        loading::saved_here_loads_elsewhere, LawKind::loading, 32},
    Law{"world.ends", "no rank waits for what never comes", world::ends, LawKind::ending, 1},
    Law{"model.within_bounds", "every rank's every layer is within its bound of the oracle's", model::within_bounds,
        LawKind::output, 1},
    Law{"world.ranks_are_in_step", "every rank takes part in the same collectives", world::ranks_are_in_step,
        LawKind::relation, 1},
    Law{"router.choices_are_sound", "ids are distinct, best first, and weights sum as they should",
        router::choices_are_sound, LawKind::routing, 1},
    Law{"router.ties_to_the_lowest", "of equal scores the lowest id is chosen", router::ties_to_the_lowest,
        LawKind::routing, 1},
    Law{"dispatch.counts_agree", "rows sent are rows expected, tokens * top_k in all", dispatch::counts_agree,
        LawKind::routing, 1},
    Law{"dispatch.combine_inverts_dispatch", "what is dispatched comes back to its place",
        dispatch::combine_inverts_dispatch, LawKind::routing, 1},
    Law{"dispatch.scaling_experts_are_exact", "experts with integer answers give exactly these",
        dispatch::scaling_experts_are_exact, LawKind::relation, 8},
    Law{"world.any_schedule", "the same bits whatever order the scheduler picks", world::any_schedule,
        LawKind::relation, 16},
    Law{"world.layouts_agree", "the same bits under another layout with the same order of sums", world::layouts_agree,
        LawKind::relation, 16},
    Law{"batch.beside_pads_within_bounds", "beside dummy tokens every layer is within its bound of the oracle's",
        batch::beside_pads_within_bounds, LawKind::output, 32},
    Law{"batch.pads_change_nothing", "dummy tokens, zero, random, NaN or infinite, change no bit of the others",
        batch::pads_change_nothing, LawKind::relation, 16},
    Law{"batch.split_and_order_do_not_matter", "a part of the batch, in another order, has the same bits",
        batch::split_and_order_do_not_matter, LawKind::relation, 16},
    Law{"experts.output_is_linear", "a MoE layer is what ranks share, once, and what experts bring",
        experts::output_is_linear, LawKind::relation, 32},
    Law{"experts.scale_applies_once", "the router's scale multiplies what experts bring, once",
        experts::scale_applies_once, LawKind::relation, 32},
    Law{"experts.top_k_is_of_all_scores", "scores over all experts first, then top-k, then their norm",
        experts::top_k_is_of_all_scores, LawKind::relation, 16},
    Law{"experts.order_does_not_matter", "experts in another order, the same model", experts::order_does_not_matter,
        LawKind::relation, 16},
    Law{"cost.forecast_is_count", "bytes forecast of every collective are those that the ranks count",
        cost::forecast_is_count, LawKind::relation, 8},
    Law{"judge.sees_four_bounds", "one element moved by 4 bounds fails", model::judge_sees_four_bounds, LawKind::output,
        16},
};

}  // namespace

std::span<const Law> laws() { return kLaws; }

std::vector<const Law*> laws_named(std::string_view name) {
    std::vector<const Law*> found;
    std::string known;
    for (const Law& law : kLaws) {
        known += (known.empty() ? "" : ", ") + std::string{law.name};
        if (law.name == name || law.name.substr(0, law.name.find('.')) == name) found.push_back(&law);
    }
    if (!found.empty()) return found;
    throw InputError({"command line", "--law", std::string{name}, "must be a law or its subject: " + known});
}

std::optional<Broken> try_law(const Law& law, Subject& subject) {
    subject.look_anew();
    try {
        if (auto message = law.fn(subject)) return Broken{std::string{law.name}, std::move(*message)};
    } catch (const std::bad_alloc&) {
        throw;  // says nothing of the case: the environment is short of memory
    } catch (const std::exception& error) {
        return Broken{std::string{kNoCrash}, error.what()};
    }
    return std::nullopt;
}

}  // namespace shardproof::props
