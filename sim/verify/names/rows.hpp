// Names that programs give parameters, as data: a row says which tensor holds which roles, and how they are joined in
// it. Names are written without what canonical_name() takes away. Private to sim/verify.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "oracle/model/family.hpp"

namespace shardproof::verify {

// How a rank's shards of several parameters lie in one tensor.
enum class Join : std::uint8_t {
    rows,       // one after the other along the last dim but one
    pairs,      // [.., F, 2, D]: row by row in turns
    kv_groups,  // wq, wk, wv: for each kv head its query heads' rows, then its own of wk, then of wv
};

struct NameRow {
    std::string_view pattern;  // {L}: the layer; {E}: an expert, whose slice is a tensor of its own
    std::vector<Role> roles;   // in the order of the join
    Join join = Join::rows;
    bool is_turned = false;    // the last two dims are swapped
};

struct NameRows {
    std::string_view name;  // as --names spells it
    std::vector<NameRow> rows;
    bool has_checkpoint_names = false;  // after the rows: the published tensors, cut to what the rank holds
    bool has_shape_suffixes = false;    // names may end in "_EFD"
};
[[nodiscard]] const NameRows& titan_names();
[[nodiscard]] const NameRows& hf_names();
[[nodiscard]] const NameRows& vllm_names();

}  // namespace shardproof::verify
