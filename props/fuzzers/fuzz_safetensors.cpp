// A whole safetensors file. What is taken tiles its data, and comes back the same from our writer.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "props/fuzzers/fuzz_target.hpp"

namespace {

using namespace shardproof;
using namespace shardproof::fuzzers;

constexpr std::size_t kLengthBytes = 8;

void require_tiled(const SafetensorsHeader& header, std::uint64_t data_begin, std::uint64_t size) {
    std::vector<const SafetensorsEntry*> by_place;
    for (const SafetensorsEntry& entry : header.entries) by_place.push_back(&entry);
    std::ranges::sort(by_place, {}, [](const SafetensorsEntry* e) { return std::pair(e->begin, e->end); });
    std::uint64_t covered = data_begin;
    for (const SafetensorsEntry* entry : by_place) {
        require(entry->begin == covered && entry->end >= covered, "a hole or an overlap was taken");
        covered = entry->end;
    }
    require(covered == size, "bytes left over were taken");
    for (std::size_t i = 1; i < header.entries.size(); ++i)
        require(header.entries[i - 1].name < header.entries[i].name, "names are not sorted, or come twice");
}

void require_writes_the_same(const std::shared_ptr<const ByteSource>& source) {
    const SafetensorsFile file(source);
    std::vector<std::pair<std::string, TensorView>> tensors;
    // A dim of 2^63 is legal in a header, and no tensor of ours.
    if (!taken([&] {
            for (const SafetensorsEntry& entry : file.header().entries)
                tensors.emplace_back(entry.name, file.view(entry));
        })) {
        return;
    }
    const std::vector<std::byte> written = to_safetensors(tensors, file.header().metadata);
    const SafetensorsFile again(own_bytes(written, "written"));
    require(again.header().metadata == file.header().metadata, "metadata changed in writing");
    require(again.header().entries.size() == tensors.size(), "tensors were lost in writing");
    for (const auto& [name, tensor] : tensors) {
        const TensorView same = again.view(*again.find(name));
        require(
            same.dtype == tensor.dtype && same.shape == tensor.shape && std::ranges::equal(same.bytes, tensor.bytes),
            "a tensor changed in writing");
    }
}

std::uint64_t header_bytes(const std::uint8_t* data, std::size_t size) {
    std::uint64_t length = 0;
    std::memcpy(&length, data, sizeof length);
    return std::min<std::uint64_t>(length, size - kLengthBytes);
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

// Mostly the text alone, with its length set right: else nearly every change would be a wrong length and no more.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max,
                                               unsigned int seed) {
    if (seed % 8 == 0 || size < kLengthBytes || size_max < size) return LLVMFuzzerMutate(data, size, size_max);
    const std::uint64_t length = header_bytes(data, size);
    const std::vector<std::uint8_t> tail(data + kLengthBytes + length, data + size);
    std::uint8_t* const text = data + kLengthBytes;
    const std::uint64_t mutated = LLVMFuzzerMutate(text, length, size_max - kLengthBytes - tail.size());
    std::memcpy(data, &mutated, sizeof mutated);
    std::ranges::copy(tail, text + mutated);
    return kLengthBytes + mutated + tail.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const InTwoSeconds limit;
    const auto bytes = std::as_bytes(std::span(data, size));
    SafetensorsHeader header;
    if (!taken([&] { header = parse_safetensors(bytes, "f.safetensors"); })) return 0;
    require_tiled(header, kLengthBytes + header_bytes(data, size), size);
    require_writes_the_same(own_bytes({bytes.begin(), bytes.end()}, "f.safetensors"));
    return 0;
}
