#include "reports/replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "oracle/model/error.hpp"

namespace shardproof::reports {
namespace {

// What printable() would show in other characters, quotes and backslashes apart.
bool has_controls(std::string_view word) {
    std::string text{word};
    std::erase_if(text, [](char c) { return c == '"' || c == '\\'; });
    return printable(text, std::string::npos) != text;
}

// bash's $'...': every byte that is no plain ASCII as its number.
std::string escaped(std::string_view word) {
    std::string text = "$'";
    for (const char c : word) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte >= 0x7F) {
            text += fmt::format("\\x{:02x}", byte);
        } else {
            if (c == '\'' || c == '\\') text += '\\';
            text += c;
        }
    }
    return text + "'";
}

std::string quoted(std::string_view word) {
    const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view{"-_./=,:+@%"}.find(static_cast<char>(c)) != std::string_view::npos;
    });
    if (plain) return std::string{word};
    if (has_controls(word)) return escaped(word);
    std::string text = "'";
    for (const char c : word) text += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return text + "'";
}

}  // namespace

ReplayLine::ReplayLine(std::string_view command) : text_{"shardproof "} { text_ += command; }

ReplayLine& ReplayLine::word(std::string_view text) {
    text_ += ' ';
    text_ += quoted(text);
    return *this;
}

ReplayLine& ReplayLine::option(std::string_view name, std::string_view value) { return word(name).word(value); }

ReplayLine& ReplayLine::option(std::string_view name, std::int64_t value) {
    return option(name, std::to_string(value));
}

ReplayLine& ReplayLine::layout(const ParallelDims& dims, std::string_view rules) {
    const auto degree = [&](std::string_view name, std::int64_t value) {
        if (value != 1) option(name, value);
    };
    degree("--dp-replicate", dims.dp_replicate());
    degree("--dp-shard", dims.dp_shard());
    degree("--cp", dims.cp());
    degree("--tp", dims.tp());
    degree("--pp", dims.pp());
    degree("--ep", dims.ep());
    if (dims.has_etp()) option("--etp", dims.etp());
    if (dims.sequence_parallel()) word("--sp");
    if (rules != "titan-infer") option("--rules", rules);
    return *this;
}

}  // namespace shardproof::reports
