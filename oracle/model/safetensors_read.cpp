#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"
#include "oracle/model/safetensors.hpp"
#include "oracle/model/safetensors_form.hpp"

namespace shardproof {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;

// The JSON between the length and the data.
std::string_view header_text(std::span<const std::byte> bytes, const std::string& file) {
    if (bytes.size() < kLengthBytes) {
        throw InputError({file, "size", std::to_string(bytes.size()), "a safetensors file has at least 8 bytes"});
    }
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kHeaderBytesMax) {
        throw InputError({file, "header length", std::to_string(length),
                          fmt::format("must be at most {}, else this is no safetensors file", kHeaderBytesMax)});
    }
    if (length > bytes.size() - kLengthBytes) {
        throw InputError({file, "header length", std::to_string(length),
                          fmt::format("must fit in the file, which is truncated: {} bytes", bytes.size())});
    }
    return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length};
}

std::string shown_field(const SafetensorsEntry& entry, std::string_view field) {
    return fmt::format("{}.{}", shown_key(entry.name), field);
}

std::string shown_shape(const SafetensorsEntry& entry) {
    constexpr std::size_t kDimsShown = 16;
    std::string text = "[";
    for (std::size_t i = 0; i < entry.shape.size() && i < kDimsShown; ++i) {
        if (i > 0) text += ',';
        text += std::to_string(entry.shape[i]);
    }
    text += entry.shape.size() > kDimsShown ? ",...]" : "]";
    return text;
}

// Bytes of a tensor. The product is checked at each step, left to right as the reference parser does it:
// [0, 2^63, 2] passes, [2^63, 2, 0] does not.
std::uint64_t num_bytes(const SafetensorsEntry& entry, const std::string& file) {
    const auto refuse = [&](std::string_view rule) {
        throw InputError(
            {file, shown_field(entry, "shape"), shown_shape(entry),
             fmt::format("{}, with {} bits an element of {}", rule, bits_of(entry.dtype), name_of(entry.dtype))});
    };
    std::uint64_t bits = 1;
    const auto multiply = [&](std::uint64_t factor) {
        if (factor != 0 && bits > std::numeric_limits<std::uint64_t>::max() / factor) {
            refuse("number of bits must not overflow 64 bits");
        }
        bits *= factor;
    };
    for (const std::uint64_t dim : entry.shape) multiply(dim);
    multiply(static_cast<std::uint64_t>(bits_of(entry.dtype)));
    if (bits % 8 != 0) refuse("must fill whole bytes");
    return bits / 8;
}

// Tensors in file order must cover the data section without hole or overlap, each in exactly its bytes.
void check_coverage(const SafetensorsHeader& header, std::uint64_t data_bytes, const std::string& file) {
    std::vector<const SafetensorsEntry*> in_file_order;
    in_file_order.reserve(header.entries.size());
    for (const SafetensorsEntry& entry : header.entries) in_file_order.push_back(&entry);
    std::ranges::sort(in_file_order, {}, [](const SafetensorsEntry* e) { return std::pair(e->begin, e->end); });

    std::uint64_t covered = 0;
    for (const SafetensorsEntry* const entry : in_file_order) {
        const auto refuse = [&](std::string rule) {
            throw InputError({file, shown_field(*entry, "data_offsets"),
                              fmt::format("[{},{}]", entry->begin, entry->end), std::move(rule)});
        };
        if (entry->end < entry->begin) refuse("must not end before it begins");
        if (entry->begin != covered) {
            refuse(fmt::format("must begin at {}, where the tensors before it end: no {}", covered,
                               entry->begin > covered ? "hole" : "overlap"));
        }
        const std::uint64_t bytes = num_bytes(*entry, file);
        if (entry->end - entry->begin != bytes) {
            refuse(fmt::format("must hold {} bytes, as dtype {} and shape {} say", bytes, name_of(entry->dtype),
                               shown_shape(*entry)));
        }
        if (entry->end > data_bytes) {
            refuse(fmt::format("must end within the file, which is truncated: {} data bytes", data_bytes));
        }
        covered = entry->end;
    }
    if (covered != data_bytes) {
        throw InputError({file, "size", fmt::format("{} data bytes", data_bytes),
                          fmt::format("must end where the last tensor ends, at {}", covered)});
    }
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, const std::string& file) {
    const std::string_view text = header_text(file_bytes, file);
    SafetensorsHeader header = read_form(text, file);
    const std::uint64_t data_begin = kLengthBytes + text.size();
    check_coverage(header, file_bytes.size() - data_begin, file);
    for (SafetensorsEntry& entry : header.entries) {
        entry.begin += data_begin;
        entry.end += data_begin;
    }
    std::ranges::sort(header.entries, {}, &SafetensorsEntry::name);
    return header;
}

SafetensorsFile::SafetensorsFile(const std::shared_ptr<const ByteSource>& source)
    : SafetensorsFile(source, source->name()) {}

SafetensorsFile::SafetensorsFile(std::shared_ptr<const ByteSource> source, const std::string& shown_as)
    : source_(std::move(source)) {
    try {
        header_ = std::make_shared<const SafetensorsHeader>(parse_safetensors(source_->bytes(), shown_as));
    } catch (const InputError&) {
        source_->require_intact();  // that it changed says more than what is wrong with it since
        throw;
    }
}

SafetensorsFile SafetensorsFile::with_source(std::shared_ptr<const ByteSource> source) const {
    SafetensorsFile copy = *this;
    copy.source_ = std::move(source);
    return copy;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
    const auto found = std::ranges::lower_bound(header_->entries, name, {}, &SafetensorsEntry::name);
    return found != header_->entries.end() && found->name == name ? &*found : nullptr;
}

TensorView SafetensorsFile::view(const SafetensorsEntry& entry) const {
    Shape shape;
    shape.reserve(entry.shape.size());
    for (const std::uint64_t dim : entry.shape) {
        if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            throw InputError(
                {source_->name(), shown_field(entry, "shape"), shown_shape(entry), "a dim must be below 2^63"});
        }
        shape.push_back(static_cast<std::int64_t>(dim));
    }
    const std::span<const std::byte> bytes = source_->bytes();
    if (entry.end > bytes.size()) {
        throw InputError({source_->name(), shown_key(entry.name), fmt::format("{} bytes of file", bytes.size()),
                          fmt::format("must not be shorter than its header says: {} bytes", entry.end)});
    }
    return {entry.dtype, std::move(shape), bytes.subspan(entry.begin, entry.end - entry.begin)};
}

}  // namespace shardproof
