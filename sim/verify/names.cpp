#include "sim/verify/names.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "oracle/model/error.hpp"
#include "sim/verify/kv_heads.hpp"

namespace shardproof::verify {
namespace {

constexpr std::array<std::string_view, 5> kInside{"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                                  "language_model.", "_forward_module."};
constexpr std::array<std::string_view, 2> kInFront{"module.", "model."};
constexpr std::array<std::string_view, 9> kNoParameters{"inv_freq",   "cos_sin_cache",     "freqs_cis",
                                                        "rope.cache", "tokens_per_expert", "tokens_per_expert_E",
                                                        "_k_scale",   "_v_scale",          "_q_scale"};

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "w1_EFD" -> "w1"; "w2_weight" stays.
void drop_suffix(std::string& name) {
    const std::size_t at = name.rfind('_');
    if (at == std::string::npos || at + 1 == name.size() || !is_upper(name[at + 1])) return;
    const auto is_letter = [](char c) { return is_upper(c) || is_digit(c); };
    if (std::all_of(name.begin() + static_cast<std::ptrdiff_t>(at) + 1, name.end(), is_letter)) name.resize(at);
}

std::string filled(std::string_view pattern, std::optional<std::int64_t> layer, std::int64_t expert) {
    std::string name;
    while (!pattern.empty()) {
        const bool is_layer = pattern.starts_with("{L}");
        if (is_layer || pattern.starts_with("{E}")) {
            name += std::to_string(is_layer ? layer.value_or(0) : expert);
            pattern.remove_prefix(3);
        } else {
            name += pattern.front();
            pattern.remove_prefix(1);
        }
    }
    return name;
}

bool is_per_expert(const NameRow& row) { return row.pattern.find("{E}") != std::string_view::npos; }

// The tensor dim -> shard dim map of `num_dims` dims, the last two swapped where they are so in the tensor.
std::vector<std::size_t> dims_in_order(std::size_t num_dims, bool is_turned) {
    std::vector<std::size_t> dims(num_dims);
    for (std::size_t i = 0; i < num_dims; ++i) dims[i] = i;
    if (is_turned && num_dims >= 2) std::swap(dims[num_dims - 1], dims[num_dims - 2]);
    return dims;
}

Shape permuted(const Shape& shape, const std::vector<std::size_t>& dims) {
    Shape out;
    for (const std::size_t dim : dims) out.push_back(shape[dim]);
    return out;
}

Box whole_box(const Shape& shape) {
    Box box;
    for (const std::int64_t extent : shape) box.push_back({0, extent});
    return box;
}

// Member `k` of shards joined along the last dim but one (their only one, of vectors).
Part joined_rows(const std::string& name, const std::vector<Shape>& shapes, std::size_t k, bool is_turned) {
    const Shape& own = shapes[k];
    const std::size_t dim = own.size() >= 2 ? own.size() - 2 : 0;
    Shape all = own;
    all[dim] = 0;
    std::int64_t before = 0;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        if (i < k) before += shapes[i][dim];
        all[dim] += shapes[i][dim];
    }
    const std::vector<std::size_t> dims = dims_in_order(own.size(), is_turned);
    Source source{name, permuted(all, dims), whole_box(own), std::vector<std::int64_t>(own.size(), 0), dims, {}};
    for (std::size_t j = 0; j < dims.size(); ++j) {
        if (dims[j] == dim) source.tensor_begin[j] = before;
    }
    return {source, source.tensor_shape, std::nullopt};
}

// Member `k` of two with each row beside the other's: [.., F, 2, D], taken as [.., F, 2*D].
Part joined_pairs(const std::string& name, const Shape& own, std::size_t k) {
    Shape taken = own;
    taken.back() *= 2;
    Source source{
        name, taken, whole_box(own), std::vector<std::int64_t>(own.size(), 0), dims_in_order(own.size(), false), {}};
    source.tensor_begin.back() = static_cast<std::int64_t>(k) * own.back();
    Shape declared = own;
    declared.insert(declared.end() - 1, 2);
    return {source, declared, std::nullopt};
}

// A box for each kv head that the rank holds.
std::optional<Spelling> joined_groups(const std::string& name, const std::vector<Shape>& shapes, std::size_t k,
                                      std::int64_t head_dim) {
    const std::int64_t groups = shapes[1][0] / head_dim;
    if (groups == 0 || shapes[1][0] % head_dim != 0 || shapes[0][0] % groups != 0) return std::nullopt;
    const std::int64_t queries = shapes[0][0] / groups;
    const std::int64_t rows = queries + 2 * head_dim;
    const std::int64_t own_rows = k == 0 ? queries : head_dim;
    const std::int64_t before = k == 0 ? 0 : queries + static_cast<std::int64_t>(k - 1) * head_dim;
    const Shape shape{groups * rows, shapes[k][1]};
    Spelling spelling;
    for (std::int64_t g = 0; g < groups; ++g) {
        spelling.push_back(
            {{name, shape, {{g * own_rows, (g + 1) * own_rows}, {0, shape[1]}}, {g * rows + before, 0}, {0, 1}, {}},
             shape,
             std::nullopt});
    }
    return spelling;
}

// The experts that an index holds, in storage order.
std::vector<std::int64_t> indices_of(const IndexRuns& runs) {
    std::vector<std::int64_t> all;
    for (const Run& run : runs) {
        for (std::int64_t i = run.begin; i < run.end; ++i) all.push_back(i);
    }
    return all;
}

Part expert_part(const NameRow& row, const Parameter& parameter, const Shape& local, std::int64_t slot,
                 std::int64_t expert) {
    std::vector<std::size_t> dims{1, 2};
    if (row.is_turned) std::swap(dims[0], dims[1]);
    Source source{
        filled(row.pattern, parameter.layer, expert), permuted(local, dims), whole_box(local), {0, 0}, dims, {}};
    source.param_box[0] = {slot, slot + 1};
    return {source, source.tensor_shape, expert};
}

// Positions in the shard of the indices that lie in `box`. nullopt: none, or not next to each other.
std::optional<Run> positions(const IndexRuns& runs, Run box) {
    std::optional<Run> found;
    std::int64_t at = 0;
    for (const Run& run : runs) {
        const std::int64_t begin = std::max(run.begin, box.begin);
        const std::int64_t end = std::min(run.end, box.end);
        if (begin < end) {
            const Run piece{at + begin - run.begin, at + end - run.begin};
            if (found && found->end != piece.begin) return std::nullopt;
            found = Run{found ? found->begin : piece.begin, piece.end};
        }
        at += run.size();
    }
    return found;
}

}  // namespace

std::string canonical_name(std::string_view name, bool drop_shape_suffix) {
    std::string text{name};
    for (const std::string_view word : kInside) {
        for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at)) {
            if (at > 0 && text[at - 1] != '.') {
                ++at;
                continue;
            }
            text.erase(at, word.size());
        }
    }
    for (bool again = true; again;) {
        again = false;
        for (const std::string_view word : kInFront) {
            if (!text.starts_with(word)) continue;
            text.erase(0, word.size());
            again = true;
        }
    }
    if (drop_shape_suffix) drop_suffix(text);
    return text;
}

std::span<const NameRows* const> name_tables() {
    static const std::array kTables{&titan_names(), &hf_names(), &vllm_names()};
    return kTables;
}

bool is_no_parameter(std::string_view canonical) {
    return std::ranges::any_of(kNoParameters, [&](std::string_view end) { return canonical.ends_with(end); });
}

NameTable::NameTable(const NameRows& rows, const Plan& plan) : rows_{&rows}, plan_{&plan} {
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        param_of_[{parameter.role, parameter.layer.value_or(-1)}] = p;
        if (rows.has_checkpoint_names) {
            for (std::size_t s = 0; s < parameter.sources.size(); ++s)
                members_of_[parameter.sources[s].tensor].emplace_back(p, s);
        }
        if (!is_routed_expert(parameter.role)) continue;
        for (const NameRow& row : rows.rows) {
            if (!is_per_expert(row) || row.roles.front() != parameter.role) continue;
            for (std::int64_t e = 0; e < parameter.shape.front(); ++e)
                expert_tensors_.insert_or_assign(filled(row.pattern, parameter.layer, e), ExpertTensor{p, e});
        }
    }
}

std::optional<std::size_t> NameTable::param_of(Role role, std::optional<std::int64_t> layer) const {
    const auto found = param_of_.find({role, layer.value_or(-1)});
    return found == param_of_.end() ? std::nullopt : std::optional{found->second};
}

std::optional<NameTable::ExpertTensor> NameTable::expert_tensor(const std::string& canonical) const {
    const auto found = expert_tensors_.find(canonical);
    return found == expert_tensors_.end() ? std::nullopt : std::optional{found->second};
}

std::optional<Spelling> NameTable::by_row(const NameRow& row, std::size_t param, Rank rank) const {
    const Parameter& parameter = plan_->params[param].parameter;
    const auto member = std::ranges::find(row.roles, parameter.role);
    if (member == row.roles.end()) return std::nullopt;
    const auto k = static_cast<std::size_t>(member - row.roles.begin());
    std::vector<Shape> shapes;
    for (const Role role : row.roles) {
        const std::optional<std::size_t> p = param_of(role, parameter.layer);
        if (!p) return std::nullopt;
        shapes.push_back(local_shape(shard_of(*plan_, *p, rank)));
    }
    if (is_per_expert(row)) {
        Spelling spelling;
        const std::vector<IndexRuns> index = shard_of(*plan_, param, rank);
        std::int64_t slot = 0;
        for (const std::int64_t expert : indices_of(index.front()))
            spelling.push_back(expert_part(row, parameter, shapes[k], slot++, expert));
        return spelling;
    }
    const std::string name = filled(row.pattern, parameter.layer, 0);
    if (row.join == Join::pairs) return Spelling{joined_pairs(name, shapes[k], k)};
    if (row.join == Join::kv_groups) return joined_groups(name, shapes, k, kv_heads_of(plan_->config).rows);
    return Spelling{joined_rows(name, shapes, k, row.is_turned)};
}

std::optional<Spelling> NameTable::by_checkpoint(std::size_t param, Rank rank) const {
    const Parameter& parameter = plan_->params[param].parameter;
    const std::vector<IndexRuns> index = shard_of(*plan_, param, rank);
    Spelling spelling;
    for (const Source& source : parameter.sources) {
        Source local{canonical(source.tensor), {}, {}, {}, source.param_dim_of, {}};
        bool is_held = true;
        for (std::size_t dim = 0; dim < index.size() && is_held; ++dim) {
            const std::optional<Run> run = positions(index[dim], source.param_box[dim]);
            is_held = run.has_value();
            if (is_held) local.param_box.push_back(*run);
        }
        if (!is_held) continue;
        // Where the tensor is made of several parameters, each rank's parts of them lie side by side in the same order.
        for (std::size_t j = 0; j < source.tensor_shape.size(); ++j) {
            std::map<std::int64_t, std::int64_t> extent_at;
            for (const auto& [p, s] : members_of_.at(source.tensor)) {
                const Source& other = plan_->params[p].parameter.sources[s];
                const std::size_t dim = other.param_dim_of[j];
                const std::optional<Run> run = positions(shard_of(*plan_, p, rank)[dim], other.param_box[dim]);
                extent_at[other.tensor_begin[j]] = run ? run->size() : 0;
            }
            std::int64_t before = 0;
            std::int64_t all = 0;
            for (const auto& [begin, extent] : extent_at) {
                if (begin < source.tensor_begin[j]) before += extent;
                all += extent;
            }
            local.tensor_shape.push_back(all);
            local.tensor_begin.push_back(before);
        }
        const bool is_one_expert = is_routed_expert(parameter.role) && source.param_box.front().size() == 1 &&
                                   source.tensor_shape.size() + 1 == index.size();
        spelling.push_back(
            {local, local.tensor_shape, is_one_expert ? std::optional{source.param_box.front().begin} : std::nullopt});
    }
    return spelling;
}

std::vector<Spelling> NameTable::spellings(std::size_t param, Rank rank) const {
    std::vector<Spelling> all;
    for (const NameRow& row : rows_->rows) {
        if (std::optional<Spelling> spelling = by_row(row, param, rank)) all.push_back(std::move(*spelling));
    }
    if (rows_->has_checkpoint_names) {
        if (std::optional<Spelling> spelling = by_checkpoint(param, rank)) all.push_back(std::move(*spelling));
    }
    return all;
}

}  // namespace shardproof::verify
