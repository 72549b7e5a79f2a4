// verify(): a dump of another program judged against checkpoint and plan, every element of it.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/verify/difference.hpp"
#include "sim/verify/dump.hpp"

namespace shardproof::verify {

struct Report {
    std::vector<Difference> differences;  // by rank, then in model order, then names that the plan has not
    std::optional<std::string> cause;
    std::string names;                    // whose the dump's are
    std::int64_t bytes_compared = 0;      // of the dump
    std::vector<std::string> notes;
};

struct Request {
    const Plan& plan;
    const Checkpoint& checkpoint;
    const Dump& dump;
    const NameRows& names;
    bool is_cut_model = false;  // tensors of layers beyond the plan's are left alone
    std::function<void(std::int64_t bytes)> on_compared = {};
};

// Clean shards are compared where they lie; only where some differ the checkpoint is indexed, and that once.
[[nodiscard]] Report verify(const Request& request);
// What of one rank is held at once, at most: its largest parameter as the dump and the checkpoint have it, as values.
[[nodiscard]] std::uint64_t memory_needed(const Plan& plan);

}  // namespace shardproof::verify
