#include "sim/verify/dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBegin = "rank_";
constexpr std::string_view kEnd = ".safetensors";

// The rank of a file's name; nullopt: no rank file at all. Digits that are no rank are -1.
std::optional<std::int64_t> rank_of(const std::string& name) {
    if (!name.starts_with(kBegin) || !name.ends_with(kEnd) || name.size() < kBegin.size() + kEnd.size())
        return std::nullopt;
    const std::string digits = name.substr(kBegin.size(), name.size() - kBegin.size() - kEnd.size());
    std::int64_t rank = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    const bool is_number = error == std::errc{} && end == digits.data() + digits.size() && rank >= 0;
    return is_number && rank_file(Rank{rank}) == name ? rank : -1;
}

void require_no_other_ranks(const fs::path& folder, std::int64_t world) {
    std::vector<std::string> others;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        const std::optional<std::int64_t> rank = rank_of(name);
        if (rank && (*rank < 0 || *rank >= world)) others.push_back(name);
    }
    if (others.empty()) return;
    throw InputError{
        {folder.string(), "--shards", *std::ranges::min_element(others),
         fmt::format("must hold the files of ranks 0 .. {} of this world of {}, rank_NNNNN.safetensors, and "
                     "no others",
                     world - 1, world)}};
}

}  // namespace

std::string rank_file(Rank rank) { return fmt::format("rank_{:05}.safetensors", rank.value()); }

Dump Dump::of_files(std::vector<SafetensorsFile> files) {
    Dump dump;
    dump.files_ = std::move(files);
    return dump;
}

Dump Dump::open(const fs::path& folder, std::int64_t world) {
    std::error_code error;
    if (!fs::is_directory(folder, error))
        throw InputError{{folder.string(), "--shards", "", "must be a folder with rank_00000.safetensors and so on"}};
    require_no_other_ranks(folder, world);
    Dump dump;
    for (std::int64_t rank = 0; rank < world; ++rank) {
        const std::string name = rank_file(Rank{rank});
        if (!fs::exists(fs::symlink_status(folder / name, error))) {
            throw InputError{{folder.string(), "--shards", name,
                              fmt::format("must be there: this world has {} ranks, each with its file", world)}};
        }
        const std::string shown = (folder / name).string();
        dump.files_.emplace_back(map_file(folder / name, shown), shown);
    }
    return dump;
}

void Dump::require_intact() const {
    for (const SafetensorsFile& file : files_) file.source().require_intact();
}

RankTensors::RankTensors(const SafetensorsFile& file, const NameTable& names) : file_{&file} {
    for (const SafetensorsEntry& entry : file.header().entries) {
        if (!by_name_.emplace(names.canonical(entry.name), &entry).second) left_over_.push_back(&entry);
    }
}

const SafetensorsEntry* RankTensors::find(const std::string& canonical) const {
    const auto found = by_name_.find(canonical);
    return found == by_name_.end() ? nullptr : found->second;
}

const NameRows& guess_names(const Plan& plan, const Dump& dump) {
    constexpr std::int64_t kRanksMax = 8;
    const NameRows* best = name_tables().front();
    std::int64_t most = 0;
    for (const NameRows* rows : name_tables()) {
        const NameTable table(*rows, plan);
        std::int64_t count = 0;
        for (std::int64_t rank = 0; rank < std::min(kRanksMax, dump.world()); ++rank) {
            const RankTensors tensors(dump.file(Rank{rank}), table);
            for (std::size_t p = 0; p < plan.params.size(); ++p) {
                const std::vector<Spelling> spellings = table.spellings(p, Rank{rank});
                count += std::ranges::any_of(spellings, [&](const Spelling& spelling) {
                    return !spelling.empty() && std::ranges::any_of(spelling, [&](const Part& part) {
                        return tensors.find(part.source.tensor) != nullptr;
                    });
                });
            }
        }
        if (count > most) {
            most = count;
            best = rows;
        }
    }
    return *best;
}

}  // namespace shardproof::verify
