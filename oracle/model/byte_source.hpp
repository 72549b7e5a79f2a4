// Where bytes come from, under Checkpoint: a mapped file, memory, or a test's faulty stand-in for one.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace shardproof {

class ByteSource {
public:
    virtual ~ByteSource() = default;
    ByteSource() = default;
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;
    // All bytes, as stable as the source itself. Reading a page may fault it in; nothing else is read ahead.
    [[nodiscard]] virtual std::span<const std::byte> bytes() const = 0;
    // What to call it in messages.
    [[nodiscard]] virtual const std::string& name() const = 0;
    // Asked when all was read and before anything is said of it: throws where bytes() may have shown other bytes than
    // those that were there when the source was made. What was read of it is then worth nothing.
    virtual void require_intact() const {}
};

// Maps a regular file read-only. Throws InputError when it is missing, no regular file (checked before opening, so a
// FIFO or a device never blocks) or unreadable; EnvironmentError when no address space is left for it. `name` is the
// path as the user or the index spells it.
// A file that is cut short, or that the disk cannot give, while it is mapped reads as zeros from there on, instead of
// ending the program with SIGBUS; require_intact() then throws InputError with file and offset, or EnvironmentError for
// the disk. It also throws for a file that was written to.
[[nodiscard]] std::shared_ptr<const ByteSource> map_file(const std::filesystem::path& file, std::string name);
[[nodiscard]] std::shared_ptr<const ByteSource> own_bytes(std::vector<std::byte> bytes, std::string name);

}  // namespace shardproof
