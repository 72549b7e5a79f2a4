#include "props/mutants/file_mutants.hpp"

#include <algorithm>

#include "props/laws/variations.hpp"

namespace shardproof::props::mutant {

std::optional<Planted> truncated_file(const Healthy& healthy) {
    const Checkpoint& checkpoint = healthy.model.checkpoint;
    std::string last;  // the tensor at the very end of the last file
    std::uint64_t end = 0;
    for (const auto& [name, item] : checkpoint.items()) {
        if (item.file_idx + 1 != checkpoint.files().size() || item.entry->end < end) continue;
        last = name;
        end = item.entry->end;
    }
    Planted planted;
    planted.model = altered_model(healthy.model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        if (tensor == last) std::ranges::fill(bytes.last((bytes.size() + 1) / 2), std::byte{0});
    });
    return planted;
}

std::optional<Planted> stale_tensor_wins(const Healthy& healthy) {
    const Parameter& norm = *std::ranges::find(healthy.model.parameters, Role::final_norm, &Parameter::role);
    Planted planted;
    // As a checkpoint of an earlier step has it: other values of the same size.
    planted.model = altered_model(healthy.model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        if (tensor == norm.sources.front().tensor) negate(bytes, dtype_of(healthy.model, norm));
    });
    return planted;
}

}  // namespace shardproof::props::mutant
