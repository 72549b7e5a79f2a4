#include "oracle/model/checkpoint.hpp"

#include <fmt/format.h>

#include <set>
#include <system_error>
#include <utility>

#include "oracle/model/checkpoint_index.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"

namespace shardproof {
namespace {

namespace fs = std::filesystem;
using Items = std::map<std::string, Checkpoint::Item, std::less<>>;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// Whether the name is taken, even by a link that leads nowhere: such a link must be an error, not an absence.
bool is_there(const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error));
}

void require_directory(const fs::path& directory) {
    std::error_code error;
    const fs::file_status status = fs::status(directory, error);
    if (!fs::exists(status)) throw InputError({directory.string(), "", "", "directory missing"});
    if (!fs::is_directory(status))
        throw InputError({directory.string(), "", "", "must be a directory with a checkpoint"});
}

[[noreturn]] void refuse_without_tensors(const fs::path& directory) {
    std::set<std::string> others;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        if (entry->path().extension() == ".safetensors") others.insert(entry->path().filename().string());
    }
    if (error) throw InputError({directory.string(), "", "", "must be readable: " + error.message()});
    if (others.empty()) {
        throw InputError({directory.string(), "", "", fmt::format("must hold {} or {}", kSingleFile, kIndexFile)});
    }
    throw InputError({directory.string(), "", printable(*others.begin()),
                      fmt::format("files without an index: {} is missing", kIndexFile)});
}

SafetensorsFile open_file(const fs::path& directory, const std::string& name) {
    const fs::path path = directory / name;
    return SafetensorsFile(map_file(path, name), path.string());
}

Items items_of(const std::vector<SafetensorsFile>& files, const std::string& checkpoint) {
    Items items;
    for (std::size_t file_idx = 0; file_idx < files.size(); ++file_idx) {
        for (const SafetensorsEntry& entry : files[file_idx].header().entries) {
            const auto [place, is_new] = items.try_emplace(entry.name, Checkpoint::Item{&entry, file_idx});
            if (is_new) continue;
            throw InputError({checkpoint, shown_key(entry.name), "",
                              fmt::format("a tensor must not be in two files: {} and {}",
                                          printable(files[place->second.file_idx].source().name()),
                                          printable(files[file_idx].source().name()))});
        }
    }
    return items;
}

// Index and files must say the same of every tensor: where it is, and that it is there.
void check_index(const CheckpointIndex& index, const std::vector<SafetensorsFile>& files, const Items& items,
                 const std::string& index_file) {
    for (const auto& [tensor, file] : index.weight_map) {
        const auto found = items.find(tensor);
        const auto refuse = [&, &named = tensor, &where = file](std::string rule) {
            throw InputError({index_file, "weight_map." + shown_key(named), fmt::format("\"{}\"", printable(where)),
                              std::move(rule)});
        };
        if (found == items.end()) refuse("index and files disagree: the tensor is in no listed file");
        const std::string& actual = files[found->second.file_idx].source().name();
        if (actual != file) refuse(fmt::format("index and files disagree: the tensor is in {}", printable(actual)));
    }
    if (items.size() == index.weight_map.size()) return;
    std::set<std::string_view> listed;
    for (const auto& [tensor, file] : index.weight_map) listed.insert(tensor);
    for (const auto& [name, item] : items) {
        if (listed.contains(name)) continue;
        throw InputError({index_file, "weight_map." + shown_key(name), "",
                          fmt::format("index and files disagree: {} holds the tensor, the index does not name it",
                                      printable(files[item.file_idx].source().name()))});
    }
}

std::string note_on_total_size(const CheckpointIndex& index, const Items& items) {
    std::uint64_t bytes = 0;
    for (const auto& [name, item] : items) bytes += item.entry->end - item.entry->begin;
    const std::string have = fmt::format("the tensors have {} bytes", bytes);
    if (index.total_size == bytes) return {};
    if (index.total_size_shown.empty()) return fmt::format("{}: no metadata.total_size; {}", kIndexFile, have);
    return fmt::format("{}: metadata.total_size is {}; {}", kIndexFile, index.total_size_shown, have);
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& directory) {
    require_directory(directory);
    Checkpoint checkpoint;
    checkpoint.name_ = directory.string();
    const fs::path index_path = directory / kIndexFile;
    if (!is_there(index_path)) {
        if (!is_there(directory / kSingleFile)) refuse_without_tensors(directory);
        checkpoint.files_.push_back(open_file(directory, std::string(kSingleFile)));
        checkpoint.items_ = items_of(checkpoint.files_, checkpoint.name_);
        return checkpoint;
    }

    const auto index_bytes = map_file(index_path, std::string(kIndexFile));
    const std::string_view json{reinterpret_cast<const char*>(index_bytes->bytes().data()),
                                index_bytes->bytes().size()};
    const CheckpointIndex index = read_index(json, index_path.string());
    std::set<std::string> names;
    for (const auto& [tensor, file] : index.weight_map) names.insert(file);
    for (const std::string& name : names) checkpoint.files_.push_back(open_file(directory, name));
    checkpoint.items_ = items_of(checkpoint.files_, checkpoint.name_);
    check_index(index, checkpoint.files_, checkpoint.items_, index_path.string());

    if (std::string note = note_on_total_size(index, checkpoint.items_); !note.empty()) {
        checkpoint.notes_.push_back(std::move(note));
    }
    if (!names.contains(std::string(kSingleFile)) && is_there(directory / kSingleFile)) {
        checkpoint.notes_.push_back(fmt::format("{} is left alone: {} does not name it", kSingleFile, kIndexFile));
    }
    return checkpoint;
}

Checkpoint Checkpoint::from_sources(std::vector<std::shared_ptr<const ByteSource>> sources) {
    Checkpoint checkpoint;
    for (auto& source : sources) {
        if (!checkpoint.name_.empty()) checkpoint.name_ += ", ";
        checkpoint.name_ += source->name();
        checkpoint.files_.emplace_back(std::move(source));
    }
    checkpoint.items_ = items_of(checkpoint.files_, checkpoint.name_);
    return checkpoint;
}

Checkpoint Checkpoint::from_files(std::string name, std::vector<std::pair<std::string, SafetensorsFile>> prefixed) {
    Checkpoint checkpoint;
    checkpoint.name_ = std::move(name);
    for (auto& [prefix, file] : prefixed) {
        for (const SafetensorsEntry& entry : file.header().entries) {
            const Item item{&entry, checkpoint.files_.size()};
            const bool is_new = checkpoint.items_.try_emplace(prefix + "/" + entry.name, item).second;
            SP_ASSERT(is_new);
        }
        checkpoint.files_.push_back(std::move(file));
    }
    return checkpoint;
}

Checkpoint Checkpoint::with_sources(
    const std::function<std::shared_ptr<const ByteSource>(std::shared_ptr<const ByteSource>)>& wrap) const {
    Checkpoint copy = *this;  // entries are shared, so the items still point at them
    for (SafetensorsFile& file : copy.files_) file = file.with_source(wrap(file.shared_source()));
    return copy;
}

void Checkpoint::require_intact() const {
    for (const SafetensorsFile& file : files_) file.source().require_intact();
}

TensorView Checkpoint::tensor(std::string_view name) const {
    const auto found = items_.find(name);
    if (found == items_.end()) throw InputError({name_, shown_key(name), "", "tensor missing"});
    return files_[found->second.file_idx].view(*found->second.entry);
}

}  // namespace shardproof
