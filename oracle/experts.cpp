#include "oracle/experts.hpp"

#include <cmath>

#include "oracle/linear.hpp"

namespace shardproof::oracle {

Matrix swiglu(const Matrix& x, const MlpWeights& weights) {
    Matrix hidden = linear(x, weights.gate);
    hidden = hidden.unaryExpr([](double gate) { return gate * sigmoid(gate); });
    hidden.array() *= linear(x, weights.up).array();
    return linear(hidden, weights.down);
}

std::vector<std::vector<std::int64_t>> slots_by_expert(const std::vector<std::int64_t>& ids, std::int64_t num_experts) {
    std::vector<std::vector<std::int64_t>> slots(static_cast<std::size_t>(num_experts));
    for (std::size_t slot = 0; slot < ids.size(); ++slot) {
        slots[static_cast<std::size_t>(ids[slot])].push_back(static_cast<std::int64_t>(slot));
    }
    return slots;
}

Matrix experts(const RouterSpec& spec, const Matrix& x, const Routing& routing,
               const std::function<MlpWeights(std::int64_t)>& expert) {
    Matrix sum = Matrix::Zero(x.rows(), x.cols());
    const auto slots = slots_by_expert(routing.ids, spec.num_experts);
    for (std::int64_t e = 0; e < spec.num_experts; ++e) {
        const std::vector<std::int64_t>& mine = slots[static_cast<std::size_t>(e)];
        if (mine.empty()) continue;
        Matrix rows(static_cast<Index>(mine.size()), x.cols());
        for (Index r = 0; r < rows.rows(); ++r) {
            const auto slot = static_cast<std::size_t>(mine[static_cast<std::size_t>(r)]);
            rows.row(r) = x.row(static_cast<Index>(slot) / spec.top_k);
            if (spec.score_on == ScoreOn::input) rows.row(r) *= routing.weights[slot];
        }
        const Matrix out = swiglu(rows, expert(e));
        for (Index r = 0; r < rows.rows(); ++r) {
            const auto slot = static_cast<std::size_t>(mine[static_cast<std::size_t>(r)]);
            const double weight = spec.score_on == ScoreOn::output ? routing.weights[slot] : 1.0;
            sum.row(static_cast<Index>(slot) / spec.top_k) += weight * out.row(r);
        }
    }
    return sum;
}

}  // namespace shardproof::oracle
