// NameTable: the tensors of a dump that hold a rank's shard of a parameter, under the names of one program.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/plan/plan.hpp"
#include "sim/verify/names/rows.hpp"

namespace shardproof::verify {

// A name without what wrappers add: "module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
// "model." and "language_model." in front, and, where asked, a shape suffix such as "_EFD".
[[nodiscard]] std::string canonical_name(std::string_view name, bool drop_shape_suffix);

// A box of a dump's tensor <-> a box of the shard, in the shard's own coordinates.
struct Part {
    Source source;                       // of the tensor's canonical name; tensor_shape as the box is taken from it
    Shape shape;                         // the tensor's own
    std::optional<std::int64_t> expert;  // whose tensor it is, where each has its own
};
// One way in which a rank's file may have the shard. No parts: an empty shard, which need not be there.
using Spelling = std::vector<Part>;

class NameTable {
public:
    // `plan` is not owned.
    NameTable(const NameRows& rows, const Plan& plan);
    [[nodiscard]] std::string_view name() const { return rows_->name; }
    [[nodiscard]] std::string canonical(std::string_view name) const {
        return canonical_name(name, rows_->has_shape_suffixes);
    }

    // The likelier first.
    [[nodiscard]] std::vector<Spelling> spellings(std::size_t param, Rank rank) const;
    // The parameter and expert that a tensor with an expert's name belongs to, whoever should hold it.
    struct ExpertTensor {
        std::size_t param = 0;
        std::int64_t expert = 0;
    };
    [[nodiscard]] std::optional<ExpertTensor> expert_tensor(const std::string& canonical) const;
    // The parameters of a role and layer.
    [[nodiscard]] std::optional<std::size_t> param_of(Role role, std::optional<std::int64_t> layer) const;

private:
    [[nodiscard]] std::optional<Spelling> by_row(const NameRow& row, std::size_t param, Rank rank) const;
    [[nodiscard]] std::optional<Spelling> by_checkpoint(std::size_t param, Rank rank) const;

    const NameRows* rows_;
    const Plan* plan_;
    std::map<std::pair<Role, std::int64_t>, std::size_t> param_of_;  // layer -1: none
    // Which sources of which parameters each checkpoint tensor is.
    std::map<std::string, std::vector<std::pair<std::size_t, std::size_t>>, std::less<>> members_of_;
    std::map<std::string, ExpertTensor, std::less<>> expert_tensors_;
};

[[nodiscard]] std::span<const NameRows* const> name_tables();  // titan, hf, vllm

// Names that are no parameters: caches, counters, scales. By their last words.
[[nodiscard]] bool is_no_parameter(std::string_view canonical);

}  // namespace shardproof::verify
