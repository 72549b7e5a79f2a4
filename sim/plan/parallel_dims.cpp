#include "sim/plan/parallel_dims.hpp"

#include <array>
#include <string_view>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

// More ranks than any machine has; keeps every product of degrees far from overflow.
constexpr std::int64_t kRanksMax = std::int64_t{1} << 24;

[[noreturn]] void refuse(std::string_view option, std::int64_t value, std::string rule) {
    throw InputError{{"command line", std::string{option}, std::to_string(value), std::move(rule)}};
}

struct Degree {
    std::string_view option;
    std::string_view word;
    std::int64_t value;
};

void check_range(const Degree& degree) {
    if (degree.value < 1) refuse(degree.option, degree.value, "must be >= 1");
    if (degree.value > kRanksMax) refuse(degree.option, degree.value, "must be <= " + std::to_string(kRanksMax));
}

// Their product; refused by the name of the degree at which it passes kRanksMax.
template <std::size_t n>
std::int64_t product_of(const std::array<Degree, n>& degrees) {
    std::int64_t product = 1;
    for (const Degree& degree : degrees) {
        if (degree.value > kRanksMax / product) {
            refuse(degree.option, degree.value,
                   "makes a world of more than " + std::to_string(kRanksMax) + " ranks with the other degrees");
        }
        product *= degree.value;
    }
    return product;
}

template <std::size_t n>
std::string spelled(const std::array<Degree, n>& degrees) {
    std::string words;
    std::string values;
    for (const Degree& degree : degrees) {
        if (!words.empty()) words += '*';
        if (!values.empty()) values += '*';
        words += degree.word;
        values += std::to_string(degree.value);
    }
    return words + " (" + values + ")";
}

std::int64_t derived_dp_shard(const RawDims& raw) {
    if (!raw.world) refuse("--dp-shard", -1, "needs --world to be derived from");
    const std::array others{Degree{"--dp-replicate", "dp_replicate", raw.dp_replicate}, Degree{"--cp", "cp", raw.cp},
                            Degree{"--tp", "tp", raw.tp}, Degree{"--pp", "pp", raw.pp}};
    const std::int64_t product = product_of(others);
    if (*raw.world % product != 0) {
        refuse("--world", *raw.world,
               "must be a multiple of " + spelled(others) + " = " + std::to_string(product) + " to derive --dp-shard");
    }
    return *raw.world / product;
}

}  // namespace

ParallelDims ParallelDims::parse(const RawDims& raw) {
    for (const Degree& degree : {Degree{"--dp-replicate", "", raw.dp_replicate}, Degree{"--cp", "", raw.cp},
                                 Degree{"--tp", "", raw.tp}, Degree{"--pp", "", raw.pp}, Degree{"--ep", "", raw.ep}}) {
        check_range(degree);
    }
    if (raw.etp) check_range({"--etp", "", *raw.etp});
    if (raw.world) check_range({"--world", "", *raw.world});
    if (raw.dp_shard != -1 && raw.dp_shard < 1) {
        refuse("--dp-shard", raw.dp_shard, "must be >= 1, or -1 to derive it from --world");
    }
    if (raw.dp_shard > kRanksMax) check_range({"--dp-shard", "", raw.dp_shard});

    RawDims dims = raw;
    if (dims.dp_shard == -1) dims.dp_shard = derived_dp_shard(raw);
    const std::array factors{Degree{"--dp-replicate", "dp_replicate", dims.dp_replicate},
                             Degree{"--dp-shard", "dp_shard", dims.dp_shard}, Degree{"--cp", "cp", dims.cp},
                             Degree{"--tp", "tp", dims.tp}, Degree{"--pp", "pp", dims.pp}};
    const std::int64_t world = product_of(factors);
    if (dims.world && *dims.world != world) {
        refuse("--world", *dims.world, "must equal " + spelled(factors) + " = " + std::to_string(world));
    }
    const std::int64_t inner = dims.dp_shard * dims.cp * dims.tp;
    if (inner % dims.ep != 0) {
        refuse(
            "--ep", dims.ep,
            "must divide " + spelled(std::array{factors[1], factors[2], factors[3]}) + " = " + std::to_string(inner));
    }
    if (dims.etp && inner / dims.ep % *dims.etp != 0) {
        refuse("--etp", *dims.etp,
               "times ep (" + std::to_string(dims.ep) + ") must divide " +
                   spelled(std::array{factors[1], factors[2], factors[3]}) + " = " + std::to_string(inner));
    }
    dims.world = world;
    return ParallelDims{dims};
}

}  // namespace shardproof
