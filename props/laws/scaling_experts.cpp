// Experts with known answers on the real program: w2(silu(w1 x) * w3 x) is x * (id + 1) exactly, where x begins with 1.
// silu(32) is 32 in f32, w3 the identity, w2 (id + 1) / 32 on the diagonal.
#include <fmt/format.h>

#include "props/laws/dispatch_laws.hpp"
#include "sim/layers/experts.hpp"
#include "sim/prng.hpp"

namespace shardproof::props::dispatch {

namespace {

constexpr std::int64_t kWidth = 4;
constexpr float kGate = 32.0F;

sim::ExpertWeights scaling_experts(const std::vector<ExpertId>& held) {
    const auto num_local = static_cast<std::int64_t>(held.size());
    const auto size = static_cast<std::size_t>(num_local * kWidth * kWidth);
    const Shape shape{num_local, kWidth, kWidth};
    sim::ExpertWeights weights{
        {shape, std::vector<float>(size)}, {shape, std::vector<float>(size)}, {shape, std::vector<float>(size)}};
    for (std::size_t e = 0; e < held.size(); ++e) {
        for (std::size_t i = 0; i < kWidth; ++i) {
            const std::size_t row = e * kWidth * kWidth + i * kWidth;
            weights.w1.values[row] = kGate;
            weights.w3.values[row + i] = 1.0F;
            weights.w2.values[row + i] = static_cast<float>(held[e].value() + 1) / kGate;
        }
    }
    return weights;
}

Rows small_integers(std::int64_t rows, std::uint64_t seed) {
    sim::Prng prng{seed};
    Rows x = sim::make_rows(rows, kWidth);
    for (float& value : x.values) value = static_cast<float>(prng.below(7)) - 3.0F;
    for (std::int64_t r = 0; r < rows; ++r) x.row(r)[0] = 1.0F;
    return x;
}

class Exchange {
public:
    Exchange(Subject& subject, const LayerDispatch& layer) : layer_{layer}, plan_{subject.plan()} {
        run_ = {.plan = &plan_, .arithmetic = Arithmetic::f32, .longest_sequence = 0, .faults = subject.faults()};
        for (std::size_t r = 0; r < layer.ranks.size(); ++r) {
            const Rank rank{static_cast<std::int64_t>(r)};
            const std::vector<Rank> alone{rank};
            alone_.emplace_back("etp", alone, rank);
            groups_.emplace_back("ep", dispatches_own_rows(plan_) ? plan_.meshes.sparse.group(rank, Axis::ep) : alone,
                                 rank);
            weights_.push_back(scaling_experts(layer.experts.held[groups_.back().my_idx()]));
            sim::Routing routing = layer.ranks[r].routing;
            std::ranges::fill(routing.weights, 1.0F);
            inputs_.push_back(small_integers(static_cast<std::int64_t>(routing.expert_ids.size()) / routing.top_k,
                                             subject.c().model.seed + r));
            routings_.push_back(std::move(routing));
        }
        outputs_.resize(layer.ranks.size());
    }

    std::optional<sim::Stall> run(std::uint64_t seed) {
        sim::World world{static_cast<std::int64_t>(inputs_.size()), seed};
        world.set_faults(run_.faults);
        return world.run([this](sim::RankContext& rank) { return program(rank); });
    }

    [[nodiscard]] std::optional<std::string> first_difference() const {
        for (std::size_t r = 0; r < inputs_.size(); ++r) {
            const sim::Routing& routing = routings_[r];
            for (std::int64_t row = 0; row < inputs_[r].rows(); ++row) {
                std::int64_t factor = 0;
                for (std::int64_t k = 0; k < routing.top_k; ++k)
                    factor += routing.expert_ids[static_cast<std::size_t>(row * routing.top_k + k)].value() + 1;
                for (std::int64_t d = 0; d < kWidth; ++d) {
                    const float want = static_cast<float>(factor) * inputs_[r].row(row)[d];
                    const float got = outputs_[r].row(row)[d];
                    if (got != want)
                        return fmt::format("layer {}, rank {}, row {}, column {}: {} came back, not {}", layer_.layer,
                                           r, row, d, got, want);
                }
            }
        }
        return std::nullopt;
    }

private:
    sim::Task<void> program(sim::RankContext& rank) {
        const std::size_t r = rank.rank().idx();
        outputs_[r] = co_await sim::routed_experts(rank, run_, {groups_[r], alone_[r]}, layer_.experts, weights_[r],
                                                   inputs_[r], routings_[r], layer_.layer);
    }

    const LayerDispatch& layer_;
    const Plan& plan_;
    sim::RunContext run_;
    std::vector<sim::Group> groups_;
    std::vector<sim::Group> alone_;  // experts are whole here, however the plan cuts them
    std::vector<sim::ExpertWeights> weights_;
    std::vector<Rows> inputs_;
    std::vector<sim::Routing> routings_;
    std::vector<Rows> outputs_;
};

}  // namespace

std::optional<std::string> scaling_experts_are_exact(Subject& subject) {
    for (const LayerDispatch& layer : subject.dispatches()) {
        Exchange exchange{subject, layer};
        if (const auto stall = exchange.run(subject.c().scheduler_seed)) return stall->message;
        if (auto message = exchange.first_difference()) return message;
    }
    return any_row_dispatched(subject) ? std::nullopt : subject.nothing_to_look_at();
}

}  // namespace shardproof::props::dispatch
