// A file that is written once, front to back: under a name of its own until it is complete and on the disk.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace shardproof::reports {

class NewFile {
public:
    // Folders on the way are made. Throws InputError where the file cannot be made; every call throws EnvironmentError
    // where the disk is full.
    explicit NewFile(std::filesystem::path file);
    ~NewFile();  // removes what is not committed
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    void append(std::span<const std::byte> bytes);
    void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
    void append_hole(std::uint64_t num_bytes);  // reads as zeros, takes no room
    [[nodiscard]] std::uint64_t num_bytes() const { return num_bytes_; }
    void commit();

private:
    std::filesystem::path file_;
    std::filesystem::path place_;
    int fd_ = -1;
    std::uint64_t num_bytes_ = 0;
};

// Byte for byte; `to` takes its name when it is complete.
void copy_file_bytes(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace shardproof::reports
