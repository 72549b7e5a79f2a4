// JSON as the safetensors format takes it, read as a stream of events: no tree is built, nothing is converted.
// Refused: a byte order mark, NUL anywhere, more than 127 levels, a key twice in one map, a number beyond double range,
// whatever RFC 8259 refuses. Limits come from the format's reference parser; the duplicate rule is the format's text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace shardproof {

class JsonPath;

// One value of a document, as it is met. `begin_` and `end_` kinds bracket the values in between.
enum class JsonKind : std::uint8_t {
    null_value,
    boolean,
    unsigned_number,
    other_number,
    string,
    key,
    begin_map,
    end_map,
    begin_list,
    end_list,
};
struct JsonEvent {
    JsonKind kind{};
    std::uint64_t number = 0;  // of an unsigned_number: digits only, so neither -0 nor 2.0 nor 2e0
    std::string_view text;  // of a string or key, unescaped; of another number, as written; valid during the event
    // What was found, for messages: `"text"`, `-1`, `a list`.
    [[nodiscard]] std::string shown() const;
};

class JsonHandler {
public:
    virtual ~JsonHandler() = default;
    // `path` leads to the value (for an end, to the map or list that ends; for a key, to the value it announces).
    virtual void on(const JsonEvent& event, const JsonPath& path) = 0;
};

// Where a value stands. Shown as `"tensor.name".shape[3]`: keys that are no plain words are quoted and escaped.
class JsonPath {
public:
    virtual ~JsonPath() = default;
    [[nodiscard]] virtual std::string shown() const = 0;
};
[[nodiscard]] std::string shown_key(std::string_view key);

// Reads one document that is all of `text`. Throws InputError with `file`, the path and the rule; what `handler` throws
// passes through.
void read_json(std::string_view text, const std::string& file, JsonHandler& handler);

}  // namespace shardproof
