#include "oracle/model/safetensors_form.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"

namespace shardproof {
namespace {

// Turns events into entries. Offsets stay relative to the data section until they are checked.
class HeaderReader final : public JsonHandler {
public:
    HeaderReader(const std::string& file, SafetensorsHeader& header) : file_(file), header_(header) {}

    void on(const JsonEvent& event, const JsonPath& path) override {
        switch (state_) {
            case State::start:
                return on_start(event, path);
            case State::tensors:
                return on_tensors(event, path);
            case State::metadata:
                return on_metadata(event, path);
            case State::entry:
                return on_entry(event, path);
            case State::dtype:
                return on_dtype(event, path);
            case State::shape:
            case State::data_offsets:
                return on_list(event, path);
            case State::unknown_field:
                return on_unknown_field(event);
            case State::done:
                SP_ASSERT(!"JSON after the end of the header");
        }
    }

private:
    enum class State : std::uint8_t {
        start,
        tensors,
        metadata,
        entry,
        dtype,
        shape,
        data_offsets,
        unknown_field,
        done,
    };

    [[noreturn]] void refuse(const JsonEvent& event, const JsonPath& path, std::string rule) const {
        throw InputError({file_, path.shown(), event.shown(), std::move(rule)});
    }

    void on_start(const JsonEvent& event, const JsonPath& path) {
        if (event.kind != JsonKind::begin_map) refuse(event, path, "the header must be a map of tensors");
        state_ = State::tensors;
    }

    void on_tensors(const JsonEvent& event, const JsonPath& path) {
        if (event.kind == JsonKind::end_map) {
            state_ = State::done;
        } else if (event.kind == JsonKind::key) {
            key_ = event.text;
        } else if (key_ == kMetadataKey) {
            if (event.kind == JsonKind::null_value) return;
            if (event.kind != JsonKind::begin_map) refuse(event, path, "must be a map of strings");
            state_ = State::metadata;
        } else {
            if (event.kind != JsonKind::begin_map) refuse(event, path, "a tensor must be a map of its fields");
            header_.entries.emplace_back().name = key_;
            has_dtype_ = has_shape_ = has_offsets_ = false;
            state_ = State::entry;
        }
    }

    void on_metadata(const JsonEvent& event, const JsonPath& path) {
        if (event.kind == JsonKind::end_map) {
            state_ = State::tensors;
        } else if (event.kind == JsonKind::key) {
            key_ = event.text;
        } else if (event.kind == JsonKind::string) {
            header_.metadata.emplace(key_, event.text);
        } else {
            refuse(event, path, "metadata must be a string");
        }
    }

    void on_entry(const JsonEvent& event, const JsonPath& path) {
        if (event.kind == JsonKind::end_map) {
            require_field(has_dtype_, "dtype", path);
            require_field(has_shape_, "shape", path);
            require_field(has_offsets_, "data_offsets", path);
            state_ = State::tensors;
        } else if (event.kind == JsonKind::key) {
            SP_ASSERT(unknown_depth_ == 0);
            state_ = event.text == "dtype"          ? State::dtype
                     : event.text == "shape"        ? State::shape
                     : event.text == "data_offsets" ? State::data_offsets
                                                    : State::unknown_field;
        }
    }

    void require_field(bool is_there, std::string_view field, const JsonPath& path) const {
        if (!is_there) throw InputError({file_, path.shown(), "", fmt::format("field missing: {}", field)});
    }

    void on_dtype(const JsonEvent& event, const JsonPath& path) {
        const auto dtype = event.kind == JsonKind::string ? dtype_named(event.text) : std::nullopt;
        if (!dtype) refuse(event, path, "must be a dtype of the format, spelled as there");
        entry().dtype = *dtype;
        has_dtype_ = true;
        state_ = State::entry;
    }

    // A list of numbers: it begins, holds unsigned numbers only, and ends; all else is refused.
    void on_list(const JsonEvent& event, const JsonPath& path) {
        const bool is_shape = state_ == State::shape;
        const bool is_full = !is_shape && numbers_.size() == 2;
        if (!in_list_) {
            if (event.kind != JsonKind::begin_list) refuse(event, path, "must be a list of numbers");
            in_list_ = true;
            numbers_.clear();
        } else if (event.kind == JsonKind::end_list) {
            if (!is_shape && !is_full) refuse(event, path, "must be two numbers, begin and end");
            in_list_ = false;
            state_ = State::entry;
            if (is_shape) {
                entry().shape = numbers_;
                has_shape_ = true;
            } else {
                entry().begin = numbers_[0];
                entry().end = numbers_[1];
                has_offsets_ = true;
            }
        } else if (event.kind != JsonKind::unsigned_number) {
            refuse(event, path, "must be an integer from 0 to 18446744073709551615, in digits only");
        } else if (is_full) {
            refuse(event, path, "must be two numbers, begin and end");
        } else {
            numbers_.push_back(event.number);
        }
    }

    void on_unknown_field(const JsonEvent& event) {
        if (event.kind == JsonKind::begin_map || event.kind == JsonKind::begin_list) ++unknown_depth_;
        if (event.kind == JsonKind::end_map || event.kind == JsonKind::end_list) --unknown_depth_;
        if (unknown_depth_ == 0) state_ = State::entry;
    }

    SafetensorsEntry& entry() { return header_.entries.back(); }

    const std::string& file_;
    SafetensorsHeader& header_;
    State state_ = State::start;
    std::string key_;
    bool has_dtype_ = false;
    bool has_shape_ = false;
    bool has_offsets_ = false;
    bool in_list_ = false;
    std::vector<std::uint64_t> numbers_;  // of the list being read
    std::size_t unknown_depth_ = 0;
};

}  // namespace

SafetensorsHeader read_form(std::string_view json_text, const std::string& file) {
    SafetensorsHeader header;
    HeaderReader reader(file, header);
    read_json(json_text, file, reader);
    return header;
}

}  // namespace shardproof
