// For tests: folders that vanish, and safetensors files written by hand, malformed ones above all.
#pragma once
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/error.hpp"

namespace shardproof::fixtures {

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string path = (std::filesystem::temp_directory_path() / "shardproof-test-XXXXXX").string();
        SP_ASSERT(::mkdtemp(path.data()) != nullptr);
        path_ = path;
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
    // Everything in it, hidden files included.
    [[nodiscard]] std::size_t num_files() const {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++count;
        return count;
    }

private:
    std::filesystem::path path_;
};

// The bytes of a file with this JSON, as it stands, and then `data`.
[[nodiscard]] inline std::string file_text(std::string_view json, std::string_view data = "") {
    const std::uint64_t length = json.size();
    std::string text(sizeof length, '\0');
    std::memcpy(text.data(), &length, sizeof length);
    return text.append(json).append(data);
}

[[nodiscard]] inline std::string repeated(std::string_view text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
}

// A tensor `a` and as many zero bytes as `data_bytes` says.
[[nodiscard]] inline std::string with_tensor(std::string_view dtype, std::string_view shape, std::string_view offsets,
                                             std::size_t data_bytes) {
    return file_text("{\"a\":{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
                         ",\"data_offsets\":" + std::string(offsets) + "}}",
                     std::string(data_bytes, '\0'));
}

// Two U8 tensors, `a` and `b`, of 4 elements each where they are not empty.
[[nodiscard]] inline std::string with_pair(std::string_view offsets_a, std::string_view offsets_b,
                                           std::size_t data_bytes, std::string_view shape_b = "[4]") {
    return file_text("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + std::string(offsets_a) +
                         "},\"b\":{\"dtype\":\"U8\",\"shape\":" + std::string(shape_b) +
                         ",\"data_offsets\":" + std::string(offsets_b) + "}}",
                     std::string(data_bytes, 'x'));
}

[[nodiscard]] inline std::vector<std::byte> bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

inline void write_text(const std::filesystem::path& file, std::string_view text) {
    std::ofstream out(file, std::ios::binary);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    SP_ASSERT(out.good());
}

[[nodiscard]] inline std::string read_text(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace shardproof::fixtures
