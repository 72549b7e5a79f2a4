#include "oracle/model/json_strict.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

constexpr std::size_t kDepthMax = 127;

// An open map or list, and which of its values is being read.
struct Level {
    bool is_map = false;
    std::set<std::string, std::less<>> keys;
    const std::string* key = nullptr;  // into `keys`
    std::uint64_t idx = 0;
};

// Moved, never copied, when the vector of levels grows: `key` must go on pointing into `keys`.
static_assert(std::is_nothrow_move_constructible_v<Level>);

class Path final : public JsonPath {
public:
    [[nodiscard]] std::string shown() const override {
        constexpr std::size_t kLevelsShown = 4;
        std::string text;
        for (std::size_t i = 0; i < levels.size() && i < kLevelsShown; ++i) {
            const Level& level = levels[i];
            if (!level.is_map) {
                text += fmt::format("[{}]", level.idx);
            } else if (level.key != nullptr) {
                if (!text.empty()) text += '.';
                text += shown_key(*level.key);
            }
        }
        return levels.size() > kLevelsShown ? text + "..." : text;
    }

    std::vector<Level> levels;
};

// nlohmann's words for a syntax error, without its own name, the position (which we give in bytes) and a copy of the
// token, which may be a megabyte long.
std::string reason_of(std::string_view what) {
    if (const auto found = what.find(" - "); found != std::string_view::npos) what.remove_prefix(found + 3);
    if (const auto found = what.find("; last read"); found != std::string_view::npos) what = what.substr(0, found);
    return printable(what);
}

// The callbacks of nlohmann::json::sax_parse, turned into events with a path.
class Sax {
public:
    Sax(const std::string& file, JsonHandler& handler) : file_(file), handler_(handler) {}

    bool null() { return value({.kind = JsonKind::null_value, .text = {}}); }
    bool boolean(bool is_true) { return value({.kind = JsonKind::boolean, .text = is_true ? "true" : "false"}); }
    bool number_unsigned(std::uint64_t number) {
        return value({.kind = JsonKind::unsigned_number, .number = number, .text = {}});
    }
    bool number_integer(std::int64_t number) {
        // Only a leading minus makes nlohmann call this.
        return value({.kind = JsonKind::other_number, .text = number == 0 ? "-0" : std::to_string(number)});
    }
    bool number_float(double, const std::string& as_written) {
        return value({.kind = JsonKind::other_number, .text = as_written});
    }
    bool string(const std::string& text) { return value({.kind = JsonKind::string, .text = text}); }
    bool binary(const std::vector<std::uint8_t>&) {
        SP_ASSERT(!"JSON text has no binary values");
        return false;
    }
    bool start_object(std::size_t) { return open({.kind = JsonKind::begin_map, .text = {}}, true); }
    bool start_array(std::size_t) { return open({.kind = JsonKind::begin_list, .text = {}}, false); }
    bool end_object() { return close({.kind = JsonKind::end_map, .text = {}}); }
    bool end_array() { return close({.kind = JsonKind::end_list, .text = {}}); }

    bool key(const std::string& text) {
        Level& level = path_.levels.back();
        const auto [place, is_new] = level.keys.insert(text);
        level.key = &*place;
        if (!is_new) refuse(path_.shown(), "", "a key must not come twice in one map");
        handler_.on({.kind = JsonKind::key, .text = text}, path_);
        return true;
    }

    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) {
        constexpr int kOutOfRange = 406;
        if (error.id == kOutOfRange) refuse(path_.shown(), "", "a number must be within the range of a double");
        refuse(path_.shown(), "", fmt::format("must be JSON: {} at byte {} of it", reason_of(error.what()), position));
    }

private:
    [[noreturn]] void refuse(std::string field, std::string value_shown, std::string rule) const {
        throw InputError({file_, std::move(field), std::move(value_shown), std::move(rule)});
    }
    bool value(const JsonEvent& event) {
        handler_.on(event, path_);
        next();
        return true;
    }
    bool open(const JsonEvent& event, bool is_map) {
        if (path_.levels.size() == kDepthMax) {
            refuse(path_.shown(), "", fmt::format("maps and lists must not nest deeper than {} levels", kDepthMax));
        }
        handler_.on(event, path_);
        path_.levels.push_back({.is_map = is_map, .keys = {}});
        return true;
    }
    bool close(const JsonEvent& event) {
        path_.levels.pop_back();
        handler_.on(event, path_);
        next();
        return true;
    }
    void next() {
        if (!path_.levels.empty()) ++path_.levels.back().idx;
    }

    const std::string& file_;
    JsonHandler& handler_;
    Path path_;
};

}  // namespace

std::string JsonEvent::shown() const {
    switch (kind) {
        case JsonKind::null_value:
            return "null";
        case JsonKind::unsigned_number:
            return std::to_string(number);
        case JsonKind::boolean:
        case JsonKind::other_number:
            return printable(text);
        case JsonKind::string:
        case JsonKind::key:
            return fmt::format("\"{}\"", printable(text));
        case JsonKind::begin_map:
        case JsonKind::end_map:
            return "a map";
        case JsonKind::begin_list:
        case JsonKind::end_list:
            return "a list";
    }
    return {};
}

std::string shown_key(std::string_view key) {
    bool plain = !key.empty() && key.size() <= 40;
    for (const char c : key) {
        plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_');
    }
    return plain ? std::string(key) : fmt::format("\"{}\"", printable(key));
}

void read_json(std::string_view text, const std::string& file, JsonHandler& handler) {
    // nlohmann skips the mark, and takes NUL for the end of the text.
    if (text.starts_with("\xEF\xBB\xBF")) {
        throw InputError({file, "", "", "must be JSON without a byte order mark"});
    }
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        throw InputError({file, "", "", fmt::format("must be JSON: NUL at byte {} of it", nul)});
    }
    Sax sax(file, handler);
    const bool is_read = nlohmann::json::sax_parse(text.begin(), text.end(), &sax);
    SP_ASSERT(is_read);  // every refusal is thrown
}

}  // namespace shardproof
