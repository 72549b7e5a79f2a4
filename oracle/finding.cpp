#include "oracle/finding.hpp"

#include <cmath>
#include <limits>
#include <tuple>

namespace shardproof::oracle {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void Finding::compare(Field field, const Bounded& want, const char* why, Index first_column) {
    double nearest_error = verdict_->max_ratio > 0.0 ? verdict_->max_error : 0.0;
    double nearest_bound = verdict_->max_ratio > 0.0 ? verdict_->bound : 1.0;
    for (const Records::Place& place : records_->places()) {
        const float* got = records_->floats(field, place) + first_column;
        const double* value = &want.value(place.token, 0);
        const double* bound = &want.error(place.token, 0);
        for (Index column = 0; column < want.value.cols(); ++column) {
            const double error = std::abs(static_cast<double>(got[column]) - value[column]);
            if (error <= bound[column] && std::isfinite(got[column])) {
                if (error * nearest_bound <= nearest_error * bound[column]) continue;
                nearest_error = error;
                nearest_bound = bound[column];
            } else {
                const bool finite = std::isfinite(got[column]);
                note_failure(place,
                             {.layer = {},
                              .rank = Rank{place.rank},
                              .coordinate = records_->coordinate(place.token, first_column + column),
                              .got = got[column],
                              .want = value[column],
                              .bound = bound[column],
                              .why = finite ? why : "not finite"},
                             finite ? error : kInfinity);
            }
        }
    }
    if (nearest_error > verdict_->max_ratio * nearest_bound) {
        verdict_->max_error = nearest_error;
        verdict_->bound = nearest_bound;
        verdict_->max_ratio = nearest_error / nearest_bound;
    }
}

void Finding::note_failure(const Records::Place& place, Mismatch mismatch, double error) {
    const double ratio = mismatch.bound > 0.0 ? error / mismatch.bound : kInfinity;
    if (!(ratio <= verdict_->max_ratio)) {
        verdict_->max_error = error;
        verdict_->bound = mismatch.bound;
        verdict_->max_ratio = ratio;
    }
    const auto before = [&] {
        const auto key = [](const Records::Place& at, const Mismatch& of) {
            return std::tuple{at.rank, at.row, of.coordinate.back()};
        };
        return key(place, mismatch) < key(first_place_, *first_);
    };
    if (first_ && !before()) return;
    first_ = std::move(mismatch);
    first_place_ = place;
}

}  // namespace shardproof::oracle
