// JsonWriter: writes JSON as it goes, so that an answer of any size takes no memory. The caller opens and closes.
#pragma once
#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <vector>

namespace shardproof::reports {

class JsonWriter {
public:
    explicit JsonWriter(std::ostream& out) : out_{&out} {}

    JsonWriter& begin_object() { return begin('{'); }
    JsonWriter& end_object() { return end('}'); }
    JsonWriter& begin_array() { return begin('['); }
    JsonWriter& end_array() { return end(']'); }
    JsonWriter& key(std::string_view name);

    // Strings: bytes that are no UTF-8 become U+FFFD; control characters, C1 and DEL included, are escaped.
    JsonWriter& value(std::string_view text);
    JsonWriter& value(const char* text) { return value(std::string_view{text}); }
    JsonWriter& value(std::same_as<bool> auto truth) { return raw(truth ? "true" : "false"); }
    JsonWriter& value(std::integral auto number)
        requires(!std::same_as<decltype(number), bool>)
    {
        return integer(static_cast<std::int64_t>(number));
    }
    JsonWriter& value(std::uint64_t number);
    JsonWriter& value(double number);  // shortest text that reads back the same; NaN and infinities are null
    JsonWriter& null() { return raw("null"); }

    template <class T>
    JsonWriter& field(std::string_view name, const T& content) {
        key(name);
        return value(content);
    }
    template <class T>
    JsonWriter& list(const std::vector<T>& items) {
        begin_array();
        for (const T& item : items) value(item);
        return end_array();
    }

private:
    JsonWriter& begin(char bracket);
    JsonWriter& end(char bracket);
    JsonWriter& raw(std::string_view text);
    JsonWriter& integer(std::int64_t number);
    void separate();

    std::ostream* out_;
    std::vector<bool> filled_;  // one an open bracket: whether something stands in it already
    bool after_key_ = false;
};

}  // namespace shardproof::reports
