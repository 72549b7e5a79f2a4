#include "reports/model_folder.hpp"

#include <fmt/format.h>

#include <ostream>
#include <system_error>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/new_file.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {

namespace fs = std::filesystem;

void WrittenModel::add(std::string name, std::uint64_t bytes, std::size_t tensors) {
    files.push_back({std::move(name), bytes});
    num_tensors += tensors;
    num_bytes += bytes;
}

void require_empty_folder(const fs::path& folder, const std::string& option) {
    std::error_code error;
    const fs::directory_iterator entry(folder, error);
    if (error || entry == fs::directory_iterator{}) return;
    throw InputError({folder.string(), option, "", "must be an empty folder, or not be there yet"});
}

void finish_model_folder(const fs::path& place, const std::optional<std::string>& index, const fs::path& config) {
    if (index) {
        NewFile file(place / "model.safetensors.index.json");
        file.append(*index);
        file.commit();
    }
    copy_file_bytes(config, place / "config.json");
}

void report_written_model(const fs::path& folder, const WrittenModel& written, const Answer& answer,
                          const std::function<void(JsonWriter&)>& more) {
    answer.text() << fmt::format("{}: {} tensors in {} files, {} bytes\n", printable(folder.string()),
                                 grouped(written.num_tensors), written.files.size(), grouped(written.num_bytes));
    answer.json([&](JsonWriter& json) {
        json.begin_object().key("files").begin_array();
        for (const WrittenModel::File& file : written.files)
            json.begin_object().field("path", file.name).field("bytes", file.num_bytes).end_object();
        json.end_array().field("tensors", written.num_tensors).field("bytes", written.num_bytes);
        if (more) more(json);
        json.end_object();
    });
}

}  // namespace shardproof::reports
