// A folder that a command fills with a model in the published layout.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reports/answer.hpp"

namespace shardproof::reports {

struct WrittenModel {
    struct File {
        std::string name;
        std::uint64_t num_bytes = 0;
    };
    std::vector<File> files;
    std::size_t num_tensors = 0;
    std::uint64_t num_bytes = 0;  // of all files
    void add(std::string name, std::uint64_t bytes, std::size_t tensors);
};

// Throws InputError where the folder is there and holds anything.
void require_empty_folder(const std::filesystem::path& folder, const std::string& option);
// What makes the safetensors in `place` a model goes last: index, if there is one, then config.json.
void finish_model_folder(const std::filesystem::path& place, const std::optional<std::string>& index,
                         const std::filesystem::path& config);
// `more` adds fields to the JSON.
void report_written_model(const std::filesystem::path& folder, const WrittenModel& written, const Answer& answer,
                          const std::function<void(JsonWriter&)>& more = {});

}  // namespace shardproof::reports
