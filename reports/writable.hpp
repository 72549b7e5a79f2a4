// Whether a folder takes files, and what to say of a file that could not be written.
#pragma once
#include <filesystem>
#include <string>

namespace shardproof::reports {

// Why no file can be made in `folder`; empty where one can. Asked by making one, which is gone at once: the permissions
// of /proc allow what it then refuses. Throws EnvironmentError where the disk is full.
[[nodiscard]] std::string why_not_writable(const std::filesystem::path& folder);

// Of a file whose writing ended with this errno: EnvironmentError where the disk is full or fails, else InputError.
[[noreturn]] void throw_unwritable(const std::filesystem::path& file, int error);

}  // namespace shardproof::reports
