#include "reports/rank_files.hpp"

#include <fmt/format.h>

#include <string_view>
#include <system_error>

namespace shardproof::reports {

std::string rank_stem(Rank rank) { return fmt::format("rank_{:05}", rank.value()); }

std::string shard_tensor_name(Rank rank, const std::string& param) { return rank_stem(rank) + "/" + param; }

std::optional<std::string> other_rank_file(const std::filesystem::path& folder, std::int64_t world) {
    namespace fs = std::filesystem;
    constexpr std::string_view kBefore = "rank_";
    constexpr std::string_view kAfter = ".safetensors";
    constexpr std::size_t kDigitsMax = 18;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        std::string name = entry->path().filename().string();
        if (!name.starts_with(kBefore) || !name.ends_with(kAfter)) continue;
        const std::string digits = name.substr(kBefore.size(), name.size() - kBefore.size() - kAfter.size());
        const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
        if (!is_number || (digits.size() <= kDigitsMax && std::stoll(digits) < world)) continue;
        return name;
    }
    return std::nullopt;
}

}  // namespace shardproof::reports
