// Which expert ids a backend may choose: the highest scores, up to their errors, ties to the lowest id.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/ids.hpp"

namespace shardproof::oracle {

// What one token's expert ids did wrong, if anything.
struct IdFault {
    std::size_t place = 0;   // in the order chosen
    std::int64_t got = -1;
    std::int64_t want = -1;  // -1: any other
    double bound = 0.0;      // how much higher the rejected one may score
    const char* why = nullptr;
};

// Another id than the oracle's is legal only where the two scores are nearer than their errors. Experts of equal gate
// rows have equal scores in any arithmetic: there the lower id must be chosen first.
class IdCheck {
public:
    // `twins` as lowest_twins() gives them.
    IdCheck(const RouterSpec& spec, std::vector<std::int64_t> twins) : spec_{&spec}, twins_{std::move(twins)} {}

    // The top_k ids of one token against its row of scores and their errors. `other` is set when they are legal and
    // still another set than the oracle's.
    [[nodiscard]] std::optional<IdFault> check(const ExpertId* ids, const double* value, const double* error,
                                               bool& other);

private:
    [[nodiscard]] std::optional<IdFault> mark_chosen(const ExpertId* ids);
    [[nodiscard]] std::optional<IdFault> find_broken_tie(const ExpertId* ids) const;
    const RouterSpec* spec_;
    std::vector<std::int64_t> twins_;
    std::vector<bool> chosen_;
};

}  // namespace shardproof::oracle
