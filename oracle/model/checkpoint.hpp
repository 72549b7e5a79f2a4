// Checkpoint: many safetensors files and their index as one read-only map, name -> tensor. Knows neither family nor
// mesh.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/safetensors.hpp"

namespace shardproof {

class Checkpoint {
public:
    // MODEL directory: model.safetensors, or model.safetensors.index.json with its files. Every rule of the contract's
    // `inspect` applies; throws InputError. An index beside a single model.safetensors: the index decides.
    [[nodiscard]] static Checkpoint open(const std::filesystem::path& directory);
    // The same from given sources, in memory or faulty: no index, names must not repeat across files.
    [[nodiscard]] static Checkpoint from_sources(std::vector<std::shared_ptr<const ByteSource>> sources);
    // Files that may share tensor names: those of each are called PREFIX/NAME.
    [[nodiscard]] static Checkpoint from_files(std::string name,
                                               std::vector<std::pair<std::string, SafetensorsFile>> prefixed);
    // A copy whose files' bytes pass through `wrap`: the seam for faults. Headers are not read again.
    [[nodiscard]] Checkpoint with_sources(
        const std::function<std::shared_ptr<const ByteSource>(std::shared_ptr<const ByteSource>)>& wrap) const;

    struct Item {
        const SafetensorsEntry* entry;
        std::size_t file_idx;
    };
    [[nodiscard]] const std::vector<SafetensorsFile>& files() const { return files_; }
    [[nodiscard]] const std::map<std::string, Item, std::less<>>& items() const { return items_; }  // sorted by name
    [[nodiscard]] bool contains(std::string_view name) const { return items_.find(name) != items_.end(); }
    [[nodiscard]] TensorView tensor(std::string_view name) const;  // InputError "tensor missing" when absent
    // Throws where a file is not what it was when it was opened (ByteSource).
    void require_intact() const;
    [[nodiscard]] const std::string& name() const { return name_; }  // for messages
    [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }  // e.g. a wrong total_size

private:
    std::string name_;
    std::vector<SafetensorsFile> files_;
    std::map<std::string, Item, std::less<>> items_;
    std::vector<std::string> notes_;
};

}  // namespace shardproof
