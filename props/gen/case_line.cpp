// A case as one word, and back. One row a field.
#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "oracle/model/error.hpp"
#include "props/gen/case.hpp"

namespace shardproof::props {

namespace {

constexpr std::array kRoutings{"random", "exact_ties", "all_to_one", "some_unused"};
constexpr std::array kRopes{"none", "linear", "dynamic", "yarn", "llama3"};
constexpr std::array kOrders{"linear", "round_robin"};
constexpr std::array kScores{"softmax", "sigmoid"};
constexpr std::array kScoresOn{"output", "input"};
constexpr std::array kArithmetics{"f32", "bf16"};

// A value as text, and from text: false when it is none.
std::string shown(std::int64_t value) { return std::to_string(value); }
std::string shown(std::uint64_t value) { return std::to_string(value); }
std::string shown(bool value) { return value ? "1" : "0"; }
std::string shown(const std::string& value) { return value; }
std::string shown(DType value) { return std::string{name_of(value)}; }
std::string shown(RoutingFlavour value) { return kRoutings.at(static_cast<std::size_t>(value)); }
std::string shown(RopeScaling value) { return kRopes.at(static_cast<std::size_t>(value)); }
std::string shown(ExpertOrder value) { return kOrders.at(static_cast<std::size_t>(value)); }
std::string shown(ScoreFunction value) { return kScores.at(static_cast<std::size_t>(value)); }
std::string shown(ScoreOn value) { return kScoresOn.at(static_cast<std::size_t>(value)); }
std::string shown(Arithmetic value) { return kArithmetics.at(static_cast<std::size_t>(value)); }
std::string shown(double value) {
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value);  // the shortest that reads back
    return {text.data(), end.ptr};
}
std::string shown(const std::vector<std::int64_t>& values) {
    std::string text;
    for (const std::int64_t value : values) text += (text.empty() ? "" : "+") + std::to_string(value);
    return text;
}
std::string shown(const std::vector<CaseSequence>& sequences) {
    std::string text;
    for (const CaseSequence& s : sequences)
        text += (text.empty() ? "" : "+") + std::to_string(s.dp_idx) + ":" + std::to_string(s.length);
    return text;
}

template <class Number>
bool read_number(std::string_view text, Number& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}
bool read(std::string_view text, std::int64_t& value) { return read_number(text, value); }
bool read(std::string_view text, std::uint64_t& value) { return read_number(text, value); }
bool read(std::string_view text, double& value) { return read_number(text, value); }
bool read(std::string_view text, bool& value) {
    value = text == "1";
    return text == "1" || text == "0";
}
bool read(std::string_view text, std::string& value) {
    value = text;
    return true;
}
bool read(std::string_view text, DType& value) {
    const auto found = dtype_named(text);
    value = found.value_or(value);
    return found.has_value();
}
template <class Enum, std::size_t n>
bool read_word(std::string_view text, const std::array<const char*, n>& words, Enum& value) {
    const auto found = std::ranges::find(words, text);
    value = static_cast<Enum>(found - words.begin());
    return found != words.end();
}
bool read(std::string_view text, RoutingFlavour& value) { return read_word(text, kRoutings, value); }
bool read(std::string_view text, RopeScaling& value) { return read_word(text, kRopes, value); }
bool read(std::string_view text, ExpertOrder& value) { return read_word(text, kOrders, value); }
bool read(std::string_view text, ScoreFunction& value) { return read_word(text, kScores, value); }
bool read(std::string_view text, ScoreOn& value) { return read_word(text, kScoresOn, value); }
bool read(std::string_view text, Arithmetic& value) { return read_word(text, kArithmetics, value); }

// Items separated by '+'; an empty text has none.
template <class Item>
bool read_list(std::string_view text, std::vector<Item>& items, bool (*read_item)(std::string_view, Item&)) {
    items.clear();
    while (!text.empty()) {
        const std::size_t plus = text.find('+');
        if (plus == text.size() - 1) return false;
        if (!read_item(text.substr(0, plus), items.emplace_back())) return false;
        text = plus == std::string_view::npos ? std::string_view{} : text.substr(plus + 1);
    }
    return true;
}
bool read(std::string_view text, std::vector<std::int64_t>& values) {
    return read_list<std::int64_t>(text, values, [](std::string_view item, std::int64_t& v) { return read(item, v); });
}
bool read(std::string_view text, std::vector<CaseSequence>& sequences) {
    return read_list<CaseSequence>(text, sequences, [](std::string_view item, CaseSequence& s) {
        const std::size_t colon = item.find(':');
        return colon != std::string_view::npos && read(item.substr(0, colon), s.dp_idx) &&
               read(item.substr(colon + 1), s.length);
    });
}

struct Field {
    std::string_view key;
    std::string_view rule;
    std::string (*print)(const Case&);
    bool (*parse)(std::string_view, Case&);
};

// The member that `of` names, printed and parsed by its type.
template <auto of>
constexpr Field field(std::string_view key, std::string_view rule) {
    return {key, rule, [](const Case& c) { return shown(of(const_cast<Case&>(c))); },
            [](std::string_view text, Case& c) { return read(text, of(c)); }};
}

constexpr std::string_view kWhole = "must be a whole number";
constexpr std::string_view kFlag = "must be 0 or 1";

constexpr std::array kFields{
    field<[](Case& c) -> auto& { return c.layout.rules; }>("rules", ""),
    field<[](Case& c) -> auto& { return c.layout.dp_replicate; }>("dp_replicate", kWhole),
    field<[](Case& c) -> auto& { return c.layout.dp_shard; }>("dp_shard", kWhole),
    field<[](Case& c) -> auto& { return c.layout.tp; }>("tp", kWhole),
    field<[](Case& c) -> auto& { return c.layout.ep; }>("ep", kWhole),
    field<[](Case& c) -> auto& { return c.layout.etp; }>("etp", kWhole),
    field<[](Case& c) -> auto& { return c.layout.sequence_parallel; }>("sp", kFlag),
    field<[](Case& c) -> auto& { return c.layout.expert_order; }>("expert_order", "must be linear or round_robin"),
    field<[](Case& c) -> auto& { return c.layout.expert_map; }>("expert_map", "must be like 0+1+2+0, an expert a slot"),
    field<[](Case& c) -> auto& { return c.model.family; }>("family", ""),
    field<[](Case& c) -> auto& { return c.model.experts; }>("experts", kWhole),
    field<[](Case& c) -> auto& { return c.model.top_k; }>("top_k", kWhole),
    field<[](Case& c) -> auto& { return c.sequences; }>("seqs", "must be like 0:3+1:0, data-parallel rank and length"),
    field<[](Case& c) -> auto& { return c.arithmetic; }>("math", "must be f32 or bf16"),
    field<[](Case& c) -> auto& { return c.model.layers; }>("layers", kWhole),
    field<[](Case& c) -> auto& { return c.model.dense_layers; }>("dense_layers", "must be like 0+2"),
    field<[](Case& c) -> auto& { return c.model.hidden; }>("hidden", kWhole),
    field<[](Case& c) -> auto& { return c.model.heads; }>("heads", kWhole),
    field<[](Case& c) -> auto& { return c.model.kv_heads; }>("kv_heads", kWhole),
    field<[](Case& c) -> auto& { return c.model.head_dim; }>("head_dim", kWhole),
    field<[](Case& c) -> auto& { return c.model.moe_hidden; }>("moe_hidden", kWhole),
    field<[](Case& c) -> auto& { return c.model.dense_hidden; }>("dense_hidden", kWhole),
    field<[](Case& c) -> auto& { return c.model.vocab; }>("vocab", kWhole),
    field<[](Case& c) -> auto& { return c.model.tied; }>("tied", kFlag),
    field<[](Case& c) -> auto& { return c.model.norm_topk; }>("norm_topk", kFlag),
    field<[](Case& c) -> auto& { return c.model.score; }>("score", "must be softmax or sigmoid"),
    field<[](Case& c) -> auto& { return c.model.score_on; }>("score_on", "must be output or input"),
    field<[](Case& c) -> auto& { return c.model.scale; }>("scale", "must be a number"),
    field<[](Case& c) -> auto& { return c.model.rope; }>("rope", "must be none, linear, dynamic, yarn or llama3"),
    field<[](Case& c) -> auto& { return c.model.shared_hidden; }>("shared_hidden", kWhole),
    field<[](Case& c) -> auto& { return c.model.no_rope_layers; }>("no_rope_layers", "must be like 0+2"),
    field<[](Case& c) -> auto& { return c.model.chunk; }>("chunk", kWhole),
    field<[](Case& c) -> auto& { return c.model.floor_scale; }>("floor_scale", kWhole),
    field<[](Case& c) -> auto& { return c.model.qk_norm; }>("qk_norm", kFlag),
    field<[](Case& c) -> auto& { return c.model.eps; }>("eps", "must be a number"),
    field<[](Case& c) -> auto& { return c.model.dtype; }>("dtype", "must be a dtype"),
    field<[](Case& c) -> auto& { return c.model.routing; }>("routing",
                                                            "must be random, exact_ties, all_to_one or some_unused"),
    field<[](Case& c) -> auto& { return c.model.files; }>("files", kWhole),
    field<[](Case& c) -> auto& { return c.model.seed; }>("seed", kWhole),
    field<[](Case& c) -> auto& { return c.scheduler_seed; }>("scheduler", kWhole),
};

const Field& field_named(std::string_view key) {
    const auto* const found = std::ranges::find(kFields, key, &Field::key);
    if (found != kFields.end()) return *found;
    std::string known;
    for (const Field& row : kFields) known += (known.empty() ? "" : ", ") + std::string{row.key};
    throw InputError({.file = "case", .field = std::string{key}, .value = "", .rule = "must be one of " + known});
}

// What refuses degrees knows them as options of a command line; a case has no options, but keys.
InputError in_words_of_a_case(const InputError& error) {
    InputError::Parts parts = error.parts();
    constexpr std::string_view kOption = "--";
    if (!parts.field.starts_with(kOption)) return error;
    parts.file = "case";
    parts.field.erase(0, kOption.size());
    std::ranges::replace(parts.field, '-', '_');
    if (parts.field == "vllm_expert_placement_strategy") parts.field = "expert_order";
    return InputError{parts};
}

}  // namespace

std::string print_case(const Case& c) {
    const Case smallest;
    std::string line;
    for (const Field& row : kFields) {
        const std::string value = row.print(c);
        if (row.key != kFields.front().key && value == row.print(smallest)) continue;
        line += (line.empty() ? "" : ",") + std::string{row.key} + "=" + value;
    }
    return line;
}

Case parse_case(std::string_view line) {
    constexpr std::string_view kSeparators = ", \t\r\n";
    Case c;
    std::set<std::string_view> seen;
    for (std::size_t at = line.find_first_not_of(kSeparators); at != std::string_view::npos;
         at = line.find_first_not_of(kSeparators, at)) {
        const std::size_t end = std::min(line.find_first_of(kSeparators, at), line.size());
        const std::string_view word = line.substr(at, end - at);
        at = end;
        const std::size_t equals = word.find('=');
        const std::string_view key = word.substr(0, equals);
        const Field& row = field_named(key);
        const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
        const auto refuse = [&](std::string_view rule) {
            throw InputError({"case", std::string{key}, std::string{value}, std::string{rule}});
        };
        if (equals == std::string_view::npos) refuse("must be followed by =VALUE");
        if (!seen.insert(row.key).second) refuse("must come once");
        if (!row.parse(value, c)) refuse(row.rule);
    }
    if (seen.empty()) throw InputError({"case", "", std::string{line}, "must have at least one KEY=VALUE"});
    try {
        require_valid(c);
    } catch (const InputError& error) {
        throw in_words_of_a_case(error);
    }
    return c;
}

}  // namespace shardproof::props
