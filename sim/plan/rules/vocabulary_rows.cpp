#include "sim/plan/rules/vocabulary_rows.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof {

Placement padded_vocabulary(std::int64_t vocab, std::int64_t multiple, std::int64_t parts) {
    const std::int64_t padded = padded_to(vocab, multiple);
    SP_ASSERT(padded % parts == 0);
    const std::int64_t rows = padded / parts;
    Owners owners;
    bool is_plain = true;
    for (std::int64_t part = 0; part < parts; ++part) {
        const Run own{std::min(vocab, part * rows), std::min(vocab, (part + 1) * rows)};
        owners.runs.push_back(own.size() > 0 ? IndexRuns{own} : IndexRuns{});
        const Run plain = chunk(vocab, parts, part);
        is_plain = is_plain && own.begin == plain.begin && own.end == plain.end;
    }
    if (is_plain) return ShardDim{0};
    return owners;
}

}  // namespace shardproof
