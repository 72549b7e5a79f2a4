// The table of mutants. What they are modelled on is told in the projects' own issue trackers.
#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"
#include "props/mutants/dispatch_mutants.hpp"
#include "props/mutants/file_mutants.hpp"
#include "props/mutants/group_mutants.hpp"
#include "props/mutants/loading_mutants.hpp"
#include "props/mutants/mutant.hpp"
#include "props/mutants/router_mutants.hpp"
#include "props/mutants/row_mutants.hpp"
#include "props/mutants/strided_mutants.hpp"

namespace shardproof::props {

namespace {

using enum Seen;
constexpr bool kOnDevices = true;
constexpr bool kNotOnDevices = false;
constexpr bool kNeedsTwoRuns = true;

// clang-format off
constexpr std::array kMutants{
    Mutant{"m01", "experts beyond an even share allotted to the last rank, dealt evenly by the loader", "vllm#21497",
           mutant::remainder_on_the_last_rank},
    Mutant{"m02", "an expert's owner is id / floor(E / ep)", "TensorRT-LLM#13888", mutant::owner_by_floor},
    Mutant{"m03", "expert communicator built of num_experts ranks instead of ep", "DeepSpeed#7551",
           mutant::communicator_of_num_experts, by_stall, kOnDevices},
    Mutant{"m03-mesh", "expert mesh built with num_experts as its ep degree", "DeepSpeed#7551",
           mutant::mesh_of_num_experts, by_bytes, kOnDevices},
    Mutant{"m04", "rows exchanged over a dense group instead of the experts'", "Megatron-LM#5916",
           mutant::dense_group_for_experts},
    Mutant{"m05", "axis order of ep and efsdp swapped in running, not in loading", "ms-swift#6655",
           mutant::swapped_expert_axes, by_output, kOnDevices},
    Mutant{"m05-everywhere", "axis order of ep and efsdp swapped in running and loading alike", "torchtitan#3514",
           mutant::swapped_expert_axes_everywhere, by_statics_only},
    Mutant{"m06", "a replicated term added before the sum over tp", "sglang#31475",
           mutant::replicated_term_before_the_sum},
    Mutant{"m07", "an MLP's output left a partial sum", "tpu-inference#3435", mutant::partial_left_alone},
    Mutant{"m08", "an expert's output added without its routing weight", "Automodel#2591",
           mutant::term_without_weight},
    Mutant{"m09", "scale applied twice", "vllm#24119", mutant::scale_twice},
    Mutant{"m09-never", "scale never applied", "sglang#8511", mutant::scale_never},
    Mutant{"m09-normed", "scale not applied where weights are normed", "sglang#31449",
           mutant::scale_not_where_normed},
    Mutant{"m12", "each holder of an expert picks one of them by its own index", "sglang#32962",
           mutant::replica_by_own_index},
    Mutant{"m13", "combine takes rows in dispatched order", "vllm#52639", mutant::combine_in_dispatched_order,
           by_output, kOnDevices},
    Mutant{"m14", "other ranks' experts masked with id 0", "transformers#40545", mutant::masked_with_expert_zero},
    Mutant{"m15", "a rank without tokens skips the all-to-all", "vllm#51984", mutant::idle_rank_skips_exchange,
           by_stall, kOnDevices},
    Mutant{"m16", "a rank with no rows to send skips, its peers wait", "nccl#788", mutant::empty_sender_skips, by_stall},
    Mutant{"m17", "dummy rows reach a quantity of all rows", "vllm#40047", mutant::scale_over_pad_rows, by_output,
           kNotOnDevices, kNeedsTwoRuns},
    Mutant{"m17-finite", "rows that fill up a short slice join its last row", "maxtext#3699",
           mutant::filling_rows_joined},
    Mutant{"m17-nan", "a row of NaN scores chooses expert 0 K times", "vllm#39391", mutant::nan_row_chooses_one, by_relation},
    Mutant{"m17-workspace", "rows left to others are not cleared", "sglang#40187", mutant::rows_not_cleared},
    Mutant{"m20", "softmax after top-k where it belongs before", "Megatron-LM#955", mutant::softmax_after_top_k},
    Mutant{"m20-tie", "ties broken differently on odd ranks", "vllm#55514", mutant::ties_as_each_rank_likes},
    Mutant{"m21", "router weights rounded to bf16", "sglang#35055", mutant::router_in_bf16},
    Mutant{"m21-bias", "weights recovered as (score + bias) - bias", "vllm#47367", mutant::weight_through_a_bias},
    Mutant{"m22", "fused w1 and w3 split as one block under tp", "sglang#15432", mutant::fused_block, by_output,
           kOnDevices},
    Mutant{"m22-swapped", "gate and up swapped", "TransformerLens#1668", mutant::swapped_gate_and_up, by_output,
           kOnDevices},
    Mutant{"m22-transposed", "w3 transposed twice", "vllm#47874", mutant::transposed_twice},
    Mutant{"m23", "an expert's keys match nothing and are skipped", "Megatron-LM#5844",
           mutant::unmatched_expert_keys},
    Mutant{"m23-cast", "experts loaded into the copy that a cast made", "Automodel#2682", mutant::cast_makes_a_copy},
    Mutant{"m24", "the slice of a rank's experts is empty", "vllm#51130", mutant::empty_slice},
    Mutant{"m25", "every ep rank loads the first experts", "DeepSpeed#6589", mutant::first_experts_everywhere,
           by_output, kOnDevices},
    Mutant{"m25-saved", "experts saved under local ids", "KempnerForge#202", mutant::saved_under_local_ids, by_bytes},
    Mutant{"m27", "kv head looked up by rank, not divided by its replicas", "vllm#2379", mutant::kv_head_by_rank},
    Mutant{"m28", "a dim cut by tp and FSDP cut left to right", "pytorch#129229", mutant::strided_left_to_right},
    Mutant{"m28-padding", "padding between the parts of a dim cut twice taken for rows of it", "pytorch#168134",
           mutant::padding_kept},
    Mutant{"m29", "a second load swaps gate and up", "vllm#42821", mutant::second_load_swapped, by_output,
           kNotOnDevices, kNeedsTwoRuns},
    Mutant{"m30", "a truncated file mapped, zeros beyond its end", "vmlx-swift#217", mutant::truncated_file},
    Mutant{"m30-stale", "of two tensors of a name the stale one wins", "vllm#54230", mutant::stale_tensor_wins},
    Mutant{"m31", "outputs added in the order of arrival", "transformers#43362", mutant::sum_in_order_of_arrival, by_relation},
    Mutant{"m31-batch", "the order of a sum depends on the number of rows", "vllm#36488", mutant::sum_by_batch_size, by_relation},
    Mutant{"m32", "a counter summed in place is taken for a rank's own", "Megatron-LM#7481",
           mutant::counts_summed_in_place, by_stall},
};

constexpr std::array kLeftOut{
    LeftOut{"m08-bias", "models: no family here has biases in its experts, to be added on every tp rank; m06 adds another "
                        "term that all of them hold"},
    LeftOut{"m10", "gradients: the scale of an expert's gradient"},
    LeftOut{"m11", "gradients: the router's gradient left a partial sum"},
    LeftOut{"m16-pair", "exchange: virtual ranks exchange rows in one collective, of which no pair can be left out"},
    LeftOut{"m18", "kernels: the alignment of a grouped GEMM's groups"},
    LeftOut{"m19", "kernels: 32-bit products of row and stride"},
    LeftOut{"m21-correction", "models: no family here has a correction bias, to be rounded or to count in the weight"},
    LeftOut{"m26", "quantisation: block scales and their sizes"},
};
// clang-format on

}  // namespace

std::span<const Mutant> mutants() { return kMutants; }
std::span<const LeftOut> mutants_left_out() { return kLeftOut; }

std::vector<const Mutant*> mutants_named(const std::vector<std::string>& ids, std::string_view option) {
    std::string known;
    for (const Mutant& mutant : kMutants) known += (known.empty() ? "" : ", ") + std::string{mutant.id};
    std::vector<bool> wanted(kMutants.size(), ids.empty());
    for (const std::string& id : ids) {
        bool found = false;
        for (std::size_t i = 0; i < kMutants.size(); ++i) {
            if (kMutants[i].id != id && kMutants[i].id.substr(0, kMutants[i].id.find('-')) != id) continue;
            wanted[i] = found = true;
        }
        if (!found) throw InputError({"command line", std::string{option}, id, "must be one of " + known});
    }
    std::vector<const Mutant*> chosen;
    for (std::size_t i = 0; i < kMutants.size(); ++i) {
        if (wanted[i]) chosen.push_back(&kMutants[i]);
    }
    return chosen;
}

}  // namespace shardproof::props
