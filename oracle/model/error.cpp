#include "oracle/model/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace shardproof {
namespace {

// One character of a text that claims to be UTF-8.
struct Decoded {
    std::uint32_t code_point = 0;
    std::size_t length = 1;
    bool valid = false;
};

Decoded decode_utf8(std::string_view text, std::size_t begin) {
    const auto byte = [&](std::size_t i) -> std::uint32_t { return static_cast<unsigned char>(text[i]); };
    const std::uint32_t lead = byte(begin);
    if (lead < 0x80) return {lead, 1, true};
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || begin + length > text.size()) return {};
    std::uint32_t code_point = lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(begin + i) & 0xC0U) != 0x80U) return {};
        code_point = code_point << 6 | (byte(begin + i) & 0x3FU);
    }
    const std::uint32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    if (code_point < smallest || code_point > 0x10FFFF || surrogate) return {};
    return {code_point, length, true};
}

// Characters that move the cursor, end a line or reverse the text of whatever prints them.
bool is_control(std::uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

enum class Quotes : std::uint8_t { keep, escape };

std::string escape(std::string_view text, Quotes quotes, std::size_t length_max) {
    std::string out;
    std::size_t keep = 0;  // where "..." would still fit
    for (std::size_t i = 0; i < text.size();) {
        const Decoded c = decode_utf8(text, i);
        if (!c.valid) {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
        } else if (c.code_point == '\n' || c.code_point == '\t' || c.code_point == '\r') {
            out += c.code_point == '\n' ? "\\n" : c.code_point == '\t' ? "\\t" : "\\r";
        } else if (is_control(c.code_point)) {
            out +=
                c.code_point < 0x80 ? fmt::format("\\x{:02x}", c.code_point) : fmt::format("\\u{:04x}", c.code_point);
        } else {
            if (quotes == Quotes::escape && (text[i] == '"' || text[i] == '\\')) out += '\\';
            out += text.substr(i, c.length);
        }
        if (out.size() > length_max) return out.substr(0, keep) + "...";
        if (out.size() + 3 <= length_max) keep = out.size();
        i += c.length;
    }
    return out;
}

std::string one_line(const InputError::Parts& parts) {
    std::string line;
    const auto append = [&](const std::string& part, std::string_view separator) {
        if (part.empty()) return;
        if (!line.empty()) line += separator;
        line += escape(part, Quotes::keep, std::string::npos);
    };
    append(parts.file, "");
    append(parts.field, ": ");
    append(parts.value, parts.field.empty() ? ": " : "=");
    append(parts.rule, ": ");
    return line;
}

}  // namespace

std::string printable(std::string_view text, std::size_t length_max) {
    return escape(text, Quotes::escape, std::max<std::size_t>(length_max, 3));
}

InputError::InputError(Parts parts) : std::runtime_error(one_line(parts)), parts_(std::move(parts)) {}

EnvironmentError::EnvironmentError(std::string_view missing, std::string_view remedy)
    : std::runtime_error(fmt::format("{}: {}", missing, remedy)) {}

void assertion_failed(const char* condition, const char* file, int line) {
    throw BugError(fmt::format("a bug in shardproof: {}:{}: {} does not hold", file, line, condition));
}

}  // namespace shardproof
