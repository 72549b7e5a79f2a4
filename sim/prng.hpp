// SplitMix64: one seed, one sequence, on every machine. Source: Steele, Lea, Flood, "Fast splittable pseudorandom
// number generators", OOPSLA 2014.
#pragma once
#include <cstdint>

namespace shardproof::sim {

class Prng {
public:
    explicit Prng(std::uint64_t seed) : state_{seed} {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
        z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31U);
    }
    // 0 .. limit-1, limit > 0. The bias of the remainder is below limit / 2^64.
    std::uint64_t below(std::uint64_t limit) { return next() % limit; }

private:
    std::uint64_t state_;
};

}  // namespace shardproof::sim
