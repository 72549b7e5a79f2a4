#include "reports/json.hpp"

#include <fmt/format.h>

#include <cmath>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"

namespace shardproof::reports {
namespace {

constexpr std::size_t kDepthOfLines = 2;  // what lies deeper stays on its line

// The code point at text[at], and how many bytes it takes; 0xFFFD of one byte where there is no UTF-8.
std::pair<std::uint32_t, std::size_t> decode(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(at);
    if (lead < 0x80) return {lead, 1};
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return {0xFFFD, 1};
    std::uint32_t point = lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xC0U) != 0x80U) return {0xFFFD, 1};
        point = point << 6 | (byte(at + i) & 0x3FU);
    }
    const std::uint32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (point < smallest || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return {0xFFFD, 1};
    return {point, length};
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (std::size_t at = 0; at < text.size();) {
        const auto [point, length] = decode(text, at);
        if (point == '"' || point == '\\') {
            out += '\\';
            out += static_cast<char>(point);
        } else if (point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029) {
            out += fmt::format("\\u{:04x}", point);
        } else if (point == 0xFFFD) {
            out += "\xEF\xBF\xBD";
        } else {
            out += text.substr(at, length);
        }
        at += length;
    }
    return out + '"';
}

}  // namespace

void JsonWriter::separate() {
    if (after_key_) {
        after_key_ = false;
        return;
    }
    if (filled_.empty()) return;
    const bool first = !filled_.back();
    filled_.back() = true;
    if (!first) *out_ << ',';
    if (filled_.size() <= kDepthOfLines) {
        *out_ << '\n' << std::string(filled_.size(), ' ');
    } else if (!first) {
        *out_ << ' ';
    }
}

JsonWriter& JsonWriter::begin(char bracket) {
    separate();
    *out_ << bracket;
    filled_.push_back(false);
    return *this;
}

JsonWriter& JsonWriter::end(char bracket) {
    SP_ASSERT(!filled_.empty() && !after_key_);
    const bool had_lines = filled_.back() && filled_.size() <= kDepthOfLines;
    filled_.pop_back();
    if (had_lines) *out_ << '\n' << std::string(filled_.size(), ' ');
    *out_ << bracket;
    if (filled_.empty()) *out_ << '\n';
    return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
    SP_ASSERT(!filled_.empty() && !after_key_);
    separate();
    *out_ << quoted(name) << ": ";
    after_key_ = true;
    return *this;
}

JsonWriter& JsonWriter::raw(std::string_view text) {
    separate();
    *out_ << text;
    return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) { return raw(quoted(text)); }
JsonWriter& JsonWriter::integer(std::int64_t number) { return raw(fmt::format_int(number).c_str()); }
JsonWriter& JsonWriter::value(std::uint64_t number) { return raw(fmt::format_int(number).c_str()); }
JsonWriter& JsonWriter::value(double number) { return std::isfinite(number) ? raw(fmt::format("{}", number)) : null(); }

}  // namespace shardproof::reports
