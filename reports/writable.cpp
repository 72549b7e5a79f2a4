#include "reports/writable.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "oracle/model/error.hpp"

namespace shardproof::reports {

std::string why_not_writable(const std::filesystem::path& folder) {
    std::string name = (folder / ".shardproof-XXXXXX").string();
    const int fd = mkstemp(name.data());
    const int error = errno;
    if (fd >= 0) {
        close(fd);
        unlink(name.c_str());
        return {};
    }
    if (error == ENOSPC || error == EDQUOT) {
        throw EnvironmentError(
            fmt::format("{}: {}", printable(folder.string()), std::generic_category().message(error)),
            "free space on that disk, or write elsewhere");
    }
    std::error_code ignored;
    if (error == ENOENT && std::filesystem::is_directory(folder, ignored)) return "this folder takes no files";
    return std::generic_category().message(error);
}

void throw_unwritable(const std::filesystem::path& file, int error) {
    const std::string why = std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT || error == EIO) {
        throw EnvironmentError(fmt::format("{}: {}", printable(file.string()), why),
                               "free space on that disk, or write elsewhere");
    }
    throw InputError({file.string(), "", "", "must be a file that can be written: " + why});
}

}  // namespace shardproof::reports
