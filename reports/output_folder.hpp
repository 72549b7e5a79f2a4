// A folder that a command fills. A new one grows under another name and takes its own when it is complete; one that is
// there already gets file by file.
#pragma once
#include <cstdint>
#include <filesystem>

namespace shardproof::reports {

class OutputFolder {
public:
    // Only looks; leaves nothing. Throws InputError naming --out: no folder and none can be made, not writable.
    explicit OutputFolder(std::filesystem::path folder);
    ~OutputFolder();  // removes what is incomplete
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

    // Throws EnvironmentError with bytes needed and free.
    void require_space(std::uint64_t bytes_needed) const;
    // Where to write. Made on the first call, which also removes what runs left there that were killed.
    [[nodiscard]] const std::filesystem::path& place();
    // All of it on the disk, then under its own name.
    void commit();

private:
    std::filesystem::path folder_;
    std::filesystem::path place_;  // folder_ itself where that exists
    bool is_new_ = false;
    bool is_open_ = false;  // made and not yet committed
};

}  // namespace shardproof::reports
