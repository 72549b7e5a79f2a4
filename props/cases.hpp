// Cases of a seed, and how a failing one shrinks: what every fuzzer shares.
#pragma once
#include <rapidcheck.h>

#include <chrono>
#include <cstdint>

#include "props/gen/case_gen.hpp"

namespace shardproof::props {

class Clock {
public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// One after another.
class Cases {
public:
    explicit Cases(std::uint64_t seed) : random_{seed} {}
    rc::Shrinkable<Case> next() { return gen_(random_.split()); }

private:
    rc::Random random_;
    rc::Gen<Case> gen_ = case_gen();
};

// Greedily down the tree of smaller cases: the first child that is still broken is where to go on.
template <class IsBroken>
Case shrunk(rc::Shrinkable<Case> at, double seconds, IsBroken&& is_broken) {
    const Clock clock;
    rc::Seq<rc::Shrinkable<Case>> smaller = at.shrinks();
    for (auto next = smaller.next(); next && clock.seconds() < seconds; next = smaller.next()) {
        if (!is_broken(next->value())) continue;
        at = *next;
        smaller = at.shrinks();
    }
    return at.value();
}

}  // namespace shardproof::props
