// Laws of the MoE layer as a function of its weights and its router: what a run must do when one of them is changed in
// a way whose outcome is known. They look at the first MoE layer, whose input nothing of this moves.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::experts {

// Out = S + R, S what all ranks share (the residual) and R what experts bring: without w2 it is S, with -2 w2 it is
// S - 2 R.
[[nodiscard]] std::optional<std::string> output_is_linear(Subject& subject);
// Out = S + scale * R: with scale 0 it is S, with -2 times the scale R and the recorded weights follow once.
[[nodiscard]] std::optional<std::string> scale_applies_once(Subject& subject);
// Softmax (or sigmoid) over all experts, then top-k: the K chosen are the first K of a run that chooses all, with these
// weights. Divided by their sum they are softmax over the chosen K alone, top-k first: the two orders agree where
// weights are normed, or K is all, and nowhere else.
[[nodiscard]] std::optional<std::string> top_k_is_of_all_scores(Subject& subject);
// Experts in another order, gate rows with them: the oracle of the model as it was takes the run, ids named back.
[[nodiscard]] std::optional<std::string> order_does_not_matter(Subject& subject);

}  // namespace shardproof::props::experts
