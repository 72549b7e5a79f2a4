// Standing: where a rank stands, as its process tells the others when it gives up.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/ids.hpp"

namespace shardproof::gpu {

struct Standing {
    Rank rank;
    std::string call;  // the first collective that is not done, as to_string(DeviceCall); empty: it waits in none
    std::vector<Rank> group;  // of that call
    std::int64_t number = 0;  // that call is the rank's how many-th of the group, from 1
};
[[nodiscard]] std::vector<std::byte> pack(const Standing& standing);
[[nodiscard]] Standing unpack_standing(std::span<const std::byte> bytes);  // SP_ASSERT: what pack wrote

}  // namespace shardproof::gpu
