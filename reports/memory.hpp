// Whether memory will suffice, asked before the work begins.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace shardproof::reports {

struct MemoryFound {
    std::uint64_t bytes = 0;
    std::string limit;  // what sets it: "free memory", "cgroup limit", "address space limit (ulimit -v)"
};

// The least of: MemAvailable, what the process's cgroup and those above it still allow (v1 and v2; caches that can be
// dropped count as free), and RLIMIT_AS less what is mapped. `root` stands before /proc and /sys. What cannot be read
// sets no limit.
[[nodiscard]] MemoryFound available_memory(const std::filesystem::path& root = "/");

// Throws EnvironmentError with bytes needed and found. `or_else` is what the command's own options can do about it.
void require_memory(std::uint64_t bytes_needed, std::string_view purpose, std::string_view or_else,
                    const MemoryFound& found = available_memory());

}  // namespace shardproof::reports
