#include "oracle/model/result.hpp"

#include <fmt/format.h>

#include "oracle/model/error.hpp"

namespace shardproof {

std::string name_of(StageKind kind, std::int64_t layer) {
    switch (kind) {
        case StageKind::embeddings:
            return "tok_embeddings";
        case StageKind::layer:
            return fmt::format("layers.{}", layer);
        case StageKind::head:
            return "lm_head";
    }
    SP_ASSERT(!"a stage kind without a name");
    return {};
}

}  // namespace shardproof
