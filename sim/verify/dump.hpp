// Dump: a folder with one safetensors file a rank, written by whatever program, under whatever names.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "sim/verify/names.hpp"

namespace shardproof::verify {

[[nodiscard]] std::string rank_file(Rank rank);  // "rank_00003.safetensors"

class Dump {
public:
    // Opens and maps rank_00000.safetensors .. of `world` ranks; other files that are no rank's are left alone. Throws
    // InputError: no folder, a rank's file absent or unreadable, one too many.
    [[nodiscard]] static Dump open(const std::filesystem::path& folder, std::int64_t world);
    [[nodiscard]] static Dump of_files(std::vector<SafetensorsFile> files);  // in the order of ranks
    [[nodiscard]] const SafetensorsFile& file(Rank rank) const { return files_.at(rank.idx()); }
    [[nodiscard]] std::int64_t world() const { return static_cast<std::int64_t>(files_.size()); }
    // Throws where a file is not what it was when it was opened (ByteSource).
    void require_intact() const;

private:
    std::vector<SafetensorsFile> files_;
};

// A rank's tensors by canonical name. Of two that have the same one, the later is left over.
class RankTensors {
public:
    RankTensors(const SafetensorsFile& file, const NameTable& names);  // neither is owned
    [[nodiscard]] const SafetensorsEntry* find(const std::string& canonical) const;
    [[nodiscard]] TensorView view(const SafetensorsEntry& entry) const { return file_->view(entry); }
    [[nodiscard]] const std::map<std::string, const SafetensorsEntry*, std::less<>>& by_name() const {
        return by_name_;
    }
    [[nodiscard]] const std::vector<const SafetensorsEntry*>& left_over() const { return left_over_; }

private:
    const SafetensorsFile* file_;
    std::map<std::string, const SafetensorsEntry*, std::less<>> by_name_;
    std::vector<const SafetensorsEntry*> left_over_;
};

// The table by whose names most parameters of the dump's first ranks are there; titan where none are.
[[nodiscard]] const NameRows& guess_names(const Plan& plan, const Dump& dump);

}  // namespace shardproof::verify
