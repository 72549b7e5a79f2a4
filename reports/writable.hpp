// Whether a folder takes files.
#pragma once
#include <filesystem>
#include <string>

namespace shardproof::reports {

// Why no file can be made in `folder`; empty where one can. Asked by making one, which is gone at once: the permissions
// of /proc allow what it then refuses. Throws EnvironmentError where the disk is full.
[[nodiscard]] std::string why_not_writable(const std::filesystem::path& folder);

}  // namespace shardproof::reports
