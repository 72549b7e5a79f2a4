#include "oracle/model/checkpoint_index.hpp"

#include <fmt/format.h>

#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"

namespace shardproof {
namespace {

// One spelling a file: "./a" or "x//a" would open "a" a second time under another name.
bool is_plain_relative(std::string_view name) {
    if (name.find('\0') != std::string_view::npos) return false;
    for (;;) {
        const auto slash = name.find('/');
        const std::string_view part = name.substr(0, slash);
        if (part.empty() || part == "." || part == "..") return false;
        if (slash == std::string_view::npos) return true;
        name.remove_prefix(slash + 1);
    }
}

class IndexReader final : public JsonHandler {
public:
    IndexReader(const std::string& file, CheckpointIndex& index) : file_(file), index_(index) {}

    void on(const JsonEvent& event, const JsonPath& path) override {
        const bool begins = event.kind == JsonKind::begin_map || event.kind == JsonKind::begin_list;
        const bool ends = event.kind == JsonKind::end_map || event.kind == JsonKind::end_list;
        if (ends) --depth_;
        if (event.kind == JsonKind::key) {
            if (depth_ == 1) top_key_ = event.text;
            if (depth_ == 2) key_ = event.text;
        } else if (depth_ == 0) {
            if (begins && event.kind != JsonKind::begin_map) refuse(event, path, "an index must be a map");
            if (!begins && !ends) refuse(event, path, "an index must be a map");
        } else if (top_key_ == "weight_map") {
            on_weight_map(event, path);
        } else if (depth_ == 2 && top_key_ == "metadata" && key_ == "total_size") {
            if (event.kind == JsonKind::unsigned_number) index_.total_size = event.number;
            index_.total_size_shown = event.shown();
        }
        if (begins) ++depth_;
    }

    [[nodiscard]] bool has_weight_map() const { return has_weight_map_; }

private:
    [[noreturn]] void refuse(const JsonEvent& event, const JsonPath& path, std::string rule) const {
        throw InputError({file_, path.shown(), event.shown(), std::move(rule)});
    }

    void on_weight_map(const JsonEvent& event, const JsonPath& path) {
        if (depth_ == 1) {
            if (event.kind != JsonKind::begin_map && event.kind != JsonKind::end_map) {
                refuse(event, path, "must be a map from tensor name to file name");
            }
            has_weight_map_ = true;
            return;
        }
        if (event.kind != JsonKind::string) refuse(event, path, "must be a file name");
        if (!is_plain_relative(event.text)) {
            refuse(event, path, "must be a relative file name without empty, \".\" or \"..\" parts");
        }
        index_.weight_map.emplace_back(key_, event.text);
    }

    const std::string& file_;
    CheckpointIndex& index_;
    std::size_t depth_ = 0;
    std::string top_key_;
    std::string key_;
    bool has_weight_map_ = false;
};

}  // namespace

CheckpointIndex read_index(std::string_view json_text, const std::string& file) {
    CheckpointIndex index;
    IndexReader reader(file, index);
    read_json(json_text, file, reader);
    if (!reader.has_weight_map()) throw InputError({file, "weight_map", "", "field missing"});
    if (index.weight_map.empty()) throw InputError({file, "weight_map", "{}", "must name at least one tensor"});
    return index;
}

}  // namespace shardproof
