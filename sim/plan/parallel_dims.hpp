// ParallelDims: the degrees of a layout, valid by construction.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace shardproof {

// As typed: unchecked.
struct RawDims {
    std::int64_t dp_replicate = 1;
    std::int64_t dp_shard = 1;  // -1: derived from world
    std::int64_t cp = 1;
    std::int64_t tp = 1;
    std::int64_t pp = 1;
    std::int64_t ep = 1;
    std::optional<std::int64_t> etp = std::nullopt;  // tp of experts alone, where a rule set gives them one; none: 1
    std::optional<std::int64_t> world;  // when given, the degrees must multiply to it
    bool sequence_parallel = false;
};

// dp_replicate*dp_shard*cp*tp*pp = world; ep*etp re-uses ranks of dp_shard*cp*tp and divides it.
// Source: torchtitan 0.3.0 distributed/parallel_dims.py, with the check on ep that it gained later.
class ParallelDims {
public:
    [[nodiscard]] static ParallelDims parse(const RawDims& raw);  // throws InputError naming the degree

    [[nodiscard]] std::int64_t dp_replicate() const { return raw_.dp_replicate; }
    [[nodiscard]] std::int64_t dp_shard() const { return raw_.dp_shard; }
    [[nodiscard]] std::int64_t cp() const { return raw_.cp; }
    [[nodiscard]] std::int64_t tp() const { return raw_.tp; }
    [[nodiscard]] std::int64_t pp() const { return raw_.pp; }
    [[nodiscard]] std::int64_t ep() const { return raw_.ep; }
    [[nodiscard]] std::int64_t etp() const { return raw_.etp.value_or(1); }
    [[nodiscard]] bool has_etp() const { return raw_.etp.has_value(); }
    [[nodiscard]] bool sequence_parallel() const { return raw_.sequence_parallel; }

    [[nodiscard]] std::int64_t world() const { return dp_replicate() * dp_shard() * cp() * tp() * pp(); }
    [[nodiscard]] std::int64_t fsdp() const { return dp_shard() * cp(); }
    [[nodiscard]] std::int64_t efsdp() const { return dp_shard() * cp() * tp() / (ep() * etp()); }
    [[nodiscard]] std::int64_t batch() const { return dp_replicate() * dp_shard(); }  // data-parallel ranks

private:
    explicit ParallelDims(const RawDims& raw) : raw_{raw} {}
    RawDims raw_;
};

}  // namespace shardproof
