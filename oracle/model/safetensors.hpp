// One safetensors file: strict reader and writer. The rules are those of the format's reference parser, stricter where
// a file is ambiguous (duplicate keys are refused).
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
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

// Reads and checks the header of a whole file's bytes. Throws InputError with `file`, the tensor or field, and the
// rule.
[[nodiscard]] SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, const std::string& file);

// A file with its header: views into the source's bytes. Copies share both, so entries stay where they are.
class SafetensorsFile {
public:
    // Reads the header; errors call the file `shown_as`, by default the source's name.
    explicit SafetensorsFile(const std::shared_ptr<const ByteSource>& source);
    SafetensorsFile(std::shared_ptr<const ByteSource> source, const std::string& shown_as);
    // The same header over other bytes: nothing is read again.
    [[nodiscard]] SafetensorsFile with_source(std::shared_ptr<const ByteSource> source) const;

    [[nodiscard]] const SafetensorsHeader& header() const { return *header_; }
    [[nodiscard]] const ByteSource& source() const { return *source_; }
    [[nodiscard]] const std::shared_ptr<const ByteSource>& shared_source() const { return source_; }
    [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;
    // InputError where a dim does not fit std::int64_t, or the source is shorter than its header says.
    [[nodiscard]] TensorView view(const SafetensorsEntry& entry) const;

private:
    std::shared_ptr<const ByteSource> source_;
    std::shared_ptr<const SafetensorsHeader> header_;
};

// A file before there are any bytes of it.
struct TensorForm {
    std::string name;
    DType dtype{};
    Shape shape;
};
struct SafetensorsForm {
    std::string head;                  // length, JSON and padding: what the file begins with
    std::vector<std::uint64_t> begin;  // byte offset in the file of each tensor, in the order given
    std::uint64_t num_bytes = 0;       // of the whole file
};
// The form that the writers below give it.
[[nodiscard]] SafetensorsForm safetensors_form(const std::vector<TensorForm>& tensors,
                                               const std::map<std::string, std::string>& metadata = {});

// Writes tensors as the reference writer does: descending dtype, then name; header padded with spaces to 8 bytes;
// metadata keys sorted. The bytes of a file with these tensors:
[[nodiscard]] std::vector<std::byte> to_safetensors(const std::vector<std::pair<std::string, TensorView>>& tensors,
                                                    const std::map<std::string, std::string>& metadata = {});
// The same, streamed to a temporary name beside `file`, on the disk before it is renamed; nothing is left behind on
// failure. A link is followed, its target replaced. Throws InputError when `file` is there and no regular file, or its
// folder cannot be written; EnvironmentError when the disk is full. Both writers throw InputError for a name that comes
// twice, is not UTF-8 or is `__metadata__`.
void write_safetensors(const std::filesystem::path& file,
                       const std::vector<std::pair<std::string, TensorView>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace shardproof
