#include <algorithm>
#include <cmath>
#include <vector>

#include "oracle/bounded.hpp"
#include "oracle/bounded_softmax.hpp"
#include "oracle/softmax.hpp"

namespace shardproof::oracle {

namespace {

constexpr double kUnknown = 1e100;

}  // namespace

// With p_j = exp(s_j) / sum exp(s_i) and each s_j off by at most a_j, the numerator is off by a factor within
// exp(+-a_j), and the sum by one within [exp(-sum p_i a_i), sum p_i exp(a_i)] (Jensen).
double bounded_softmax(std::span<double> scores, std::span<double> error) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    const double error_max = *std::max_element(error.begin(), error.end());
    for (std::size_t j = 0; j < scores.size(); ++j) {
        // The difference to the largest, then exp to 4 units, then the division.
        const double rounding = Roundoff::unit() * (largest - scores[j] + 2.0 * error_max) + Roundoff::gamma(5);
        error[j] = error[j] + rounding;
    }
    softmax(scores);
    double mean = 0.0;
    double mean_grown = 0.0;
    for (std::size_t j = 0; j < scores.size(); ++j) {
        // Past exp(200) nothing is known of the probability, and nothing overflows.
        const bool known = error[j] < 200.0;
        const double own = known ? scores[j] * std::expm1(error[j]) : kUnknown;
        mean += scores[j] * std::min(error[j], 200.0);
        mean_grown += own;
        error[j] = own + kTiny;
    }
    const double sum = Roundoff::gamma(static_cast<Index>(scores.size()) + 1);
    return std::max(std::expm1(mean), mean_grown) * (1.0 + sum) + sum;
}

namespace {

// One query against the keys of its sequence, for one head.
class Row {
public:
    Row(const Bounded& q, const Bounded& k, const Bounded& v, Index width, const Roundoff& roundoff)
        : q_{q},
          k_{k},
          v_{v},
          width_{width},
          roundoff_{roundoff},
          k_size_{k.value.cwiseAbs() + k.error},
          v_size_{v.value.cwiseAbs() + v.error},
          q_size_(width),
          q_off_(width) {}

    void attend(Index row, Index head, Index kv_head, Index first_key, Bounded& out);

private:
    const Bounded& q_;
    const Bounded& k_;
    const Bounded& v_;
    const Index width_;
    const Roundoff& roundoff_;
    const Matrix k_size_;  // |k| + its error
    const Matrix v_size_;
    RowVector q_size_, q_off_;
    std::vector<double> p_, p_off_;
};

void Row::attend(Index row, Index head, Index kv_head, Index first_key, Bounded& out) {
    const auto keys = static_cast<std::size_t>(row - first_key + 1);
    p_.resize(keys);
    p_off_.resize(keys);
    const double scale = 1.0 / std::sqrt(static_cast<double>(width_));
    const double dot = Roundoff::gamma(width_ + 3);
    const auto query = q_.value.row(row).segment(head * width_, width_);
    const auto query_off = q_.error.row(row).segment(head * width_, width_);
    q_size_ = query.cwiseAbs();
    q_off_ = query_off + dot * (q_size_ + query_off);
    for (std::size_t j = 0; j < keys; ++j) {
        const Index key = first_key + static_cast<Index>(j);
        const Index at = kv_head * width_;
        p_[j] = scale * query.dot(k_.value.row(key).segment(at, width_));
        const double carried = scale * (q_off_.dot(k_size_.row(key).segment(at, width_)) +
                                        q_size_.dot(k_.error.row(key).segment(at, width_)));
        p_off_[j] = carried + roundoff_.store() * (std::abs(p_[j]) + carried) + kTiny;
    }
    const double common = bounded_softmax(p_, p_off_);
    const double sum = Roundoff::gamma(static_cast<Index>(keys) + 1);
    auto value = out.value.row(row).segment(head * width_, width_);
    auto error = out.error.row(row).segment(head * width_, width_);
    for (std::size_t j = 0; j < keys; ++j) {
        const Index key = first_key + static_cast<Index>(j);
        const Index at = kv_head * width_;
        double off = p_off_[j] + common * (p_[j] + p_off_[j]);
        off = std::min(off + roundoff_.store() * (p_[j] + off), 1.0);
        off += sum * (p_[j] + off);
        value += p_[j] * v_.value.row(key).segment(at, width_);
        error += off * v_size_.row(key).segment(at, width_) + p_[j] * v_.error.row(key).segment(at, width_);
    }
}

}  // namespace

Bounded causal_attention(const Heads& heads, const TokenLayout& tokens, const Bounded& q, const Bounded& k,
                         const Bounded& v, const Roundoff& roundoff, std::int64_t chunk) {
    Bounded out{Matrix::Zero(q.value.rows(), q.value.cols()), Matrix::Zero(q.value.rows(), q.value.cols())};
    Row work{q, k, v, heads.head_dim, roundoff};
    const Index group = heads.num_heads / heads.num_kv_heads;
    for (const Run& rows : tokens.sequences) {
        for (Index head = 0; head < heads.num_heads; ++head) {
            for (Index row = rows.begin; row < rows.end; ++row) {
                work.attend(row, head, head / group, first_seen(rows, row, chunk), out);
            }
        }
    }
    add_relative(out, 0.0);
    roundoff.round_stored(out);
    return out;
}

}  // namespace shardproof::oracle
