#include "reports/memory.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

// The number after `key` at the start of a line, as in /proc/meminfo and memory.stat.
std::optional<std::uint64_t> number_after(const fs::path& file, std::string_view key) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with(key)) continue;
        std::istringstream rest(line.substr(key.size()));
        if (std::uint64_t number = 0; rest >> number) return number;
    }
    return std::nullopt;
}

// A file that holds one number; "max" and the like are none.
std::optional<std::uint64_t> number_in(const fs::path& file) { return number_after(file, ""); }

void limit_to(MemoryFound& found, std::uint64_t bytes, const std::string& limit) {
    if (bytes < found.bytes) found = {bytes, limit};
}

// One controller's folder for this process, and its ancestors: the tightest rules.
void limit_by_cgroup(MemoryFound& found, const fs::path& base, const std::string& group, const char* limit_file,
                     const char* usage_file, std::string_view cache_key) {
    fs::path folder = base / fs::path{group}.relative_path();
    std::error_code error;
    if (!fs::exists(folder, error)) folder = base;  // inside a container the path may be that of the host
    while (true) {
        const auto limit = number_in(folder / limit_file);
        if (const auto usage = number_in(folder / usage_file); limit && usage) {
            const std::uint64_t cache = number_after(folder / "memory.stat", cache_key).value_or(0);
            limit_to(found, minus(*limit, minus(*usage, cache)), "the cgroup's limit");
        }
        if (folder == base || !folder.has_parent_path()) return;
        folder = folder.parent_path();
    }
}

void limit_by_cgroups(MemoryFound& found, const fs::path& root) {
    std::ifstream in(root / "proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {  // HIERARCHY:CONTROLLERS:PATH
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string group = line.substr(second + 1);
        if (controllers == ",,") {
            limit_by_cgroup(found, root / "sys/fs/cgroup", group, "memory.max", "memory.current", "inactive_file ");
        } else if (controllers.find(",memory,") != std::string::npos) {
            limit_by_cgroup(found, root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                            "memory.usage_in_bytes", "total_inactive_file ");
        }
    }
}

void limit_by_address_space(MemoryFound& found, const fs::path& root) {
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const std::uint64_t mapped_kib = number_after(root / "proc/self/status", "VmSize:").value_or(0);
    limit_to(found, minus(limit.rlim_cur, mapped_kib * 1024), "the address space limit (ulimit -v)");
}

}  // namespace

MemoryFound available_memory(const fs::path& root) {
    MemoryFound found{std::numeric_limits<std::uint64_t>::max(), "nothing"};
    if (const auto kib = number_after(root / "proc/meminfo", "MemAvailable:"))
        limit_to(found, *kib * 1024, "free memory");
    limit_by_cgroups(found, root);
    limit_by_address_space(found, root);
    return found;
}

void require_memory(std::uint64_t bytes_needed, std::string_view purpose, std::string_view or_else,
                    const MemoryFound& found) {
    if (bytes_needed <= found.bytes) return;
    throw EnvironmentError(
        fmt::format("memory will not suffice: {} needs {} bytes ({}), {} leaves {} bytes ({})", purpose, bytes_needed,
                    bytes_text(bytes_needed), found.limit, found.bytes, bytes_text(found.bytes)),
        fmt::format("use a machine with more, or {}", or_else));
}

}  // namespace shardproof::reports
