// One safetensors file: strict reader and writer. The rules are those of the format's reference parser, stricter where
// a file is ambiguous (duplicate keys are refused).
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof {

struct SafetensorsEntry {
    std::string name;                   // any Unicode string, UTF-8
    DType dtype{};
    std::vector<std::uint64_t> shape;   // the format's own width
    std::uint64_t begin = 0;            // byte offsets in the file, not in the data section
    std::uint64_t end = 0;
};

struct SafetensorsHeader {
    std::vector<SafetensorsEntry> entries;         // sorted by name (UTF-8 bytes)
    std::map<std::string, std::string> metadata;   // __metadata__
};

// Reads and checks the header of a whole file's bytes. Throws InputError with `file`, the tensor or field, and the rule.
[[nodiscard]] SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, const std::string& file);

// A file with its header: views into the source's bytes.
class SafetensorsFile {
public:
    explicit SafetensorsFile(std::shared_ptr<const ByteSource> source);
    [[nodiscard]] const SafetensorsHeader& header() const { return header_; }
    [[nodiscard]] const ByteSource& source() const { return *source_; }
    [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;
    [[nodiscard]] TensorView view(const SafetensorsEntry& entry) const;  // dims must fit std::int64_t, else InputError

private:
    std::shared_ptr<const ByteSource> source_;
    SafetensorsHeader header_;
};

// Writes tensors as the reference writer does: descending dtype, then name; header padded with spaces to 8 bytes;
// metadata keys sorted. The bytes of a file with these tensors:
[[nodiscard]] std::vector<std::byte> to_safetensors(const std::vector<std::pair<std::string, TensorView>>& tensors,
                                                    const std::map<std::string, std::string>& metadata = {});
// The same, streamed to a temporary name beside `file` and renamed when complete. Throws InputError when the folder
// cannot be written.
void write_safetensors(const std::filesystem::path& file, const std::vector<std::pair<std::string, TensorView>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace shardproof
