// One stage's verdict as it is reached: blocks in order, elements against bounds, the first failure kept.
#pragma once
#include <optional>
#include <string>

#include "oracle/bounded.hpp"
#include "oracle/judge.hpp"
#include "oracle/records.hpp"

namespace shardproof::oracle {

// A stage's verdict as it grows: the first failure ends it, the element nearest to its bound is remembered.
class Finding {
public:
    Finding(const Records& records, LayerVerdict& verdict) : records_{&records}, verdict_{&verdict} {}

    // Names the block that later failures are in.
    void enter(std::string block) { block_ = std::move(block); }
    [[nodiscard]] bool failed() const { return verdict_->failure.has_value(); }
    void fail(Mismatch mismatch) {
        if (failed()) return;
        mismatch.layer = block_;
        verdict_->ok = false;
        verdict_->failure = std::move(mismatch);
    }
    // False once something failed.
    bool require(std::optional<Mismatch> mismatch) {
        if (mismatch) fail(std::move(*mismatch));
        return !failed();
    }
    // Whether columns first_column.. of `field` lie within `want`. A matrix may come in several slices of columns:
    // settle() after the last one.
    void compare(Field field, const Bounded& want, const char* why, Index first_column = 0);
    bool settle() { return require(std::exchange(first_, std::nullopt)); }

private:
    void note_failure(const Records::Place& place, Mismatch mismatch, double error);

    const Records* records_;
    LayerVerdict* verdict_;
    std::string block_;
    std::optional<Mismatch> first_;  // the first failing element by (rank, row, column) ...
    Records::Place first_place_{};   // ... and where it lies
};

}  // namespace shardproof::oracle
