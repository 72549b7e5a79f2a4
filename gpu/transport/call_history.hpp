// CallHistory: what one process has called of each group that it shares with others, so that they can be compared.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gpu/transport/collective.hpp"
#include "gpu/transport/store.hpp"

namespace shardproof::gpu {

class CallHistory {
public:
    // `prefix` begins the keys of all claims.
    explicit CallHistory(std::string prefix) : prefix_{std::move(prefix)} {}
    // Calls that are enqueued together; those of one group agree and count as one, a group of one is left out. What
    // every member must ask for alike is kept: kind, dtype, root, purpose and counts, but not the counts of an
    // all_to_all, which differ from pair to pair.
    void add(std::span<const DeviceCall> calls);
    // Each group's last call and a hash of all before it, for Store::news().
    [[nodiscard]] const std::vector<StoreClaim>& claims() const { return claims_; }

private:
    std::string prefix_;
    std::map<std::vector<Rank>, std::size_t> idx_of_;
    std::vector<StoreClaim> claims_;
};

}  // namespace shardproof::gpu
