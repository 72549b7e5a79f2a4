#include "reports/new_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& file, int error) {
    const std::string why = std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT || error == EIO) {
        throw EnvironmentError(fmt::format("{}: {}", printable(file.string()), why),
                               "free space on that disk, or write elsewhere");
    }
    throw InputError({file.string(), "", "", "must be a file that can be written: " + why});
}

}  // namespace

NewFile::NewFile(fs::path file) : file_{std::move(file)} {
    std::error_code error;
    if (file_.has_parent_path()) fs::create_directories(file_.parent_path(), error);
    if (error) fail(file_, error.value());
    place_ = file_.parent_path() / fmt::format(".{}.tmp-{}", file_.filename().string(), getpid());
    fd_ = ::open(place_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) fail(file_, errno);
}

NewFile::~NewFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(place_.c_str());
}

void NewFile::append(std::span<const std::byte> bytes) {
    num_bytes_ += bytes.size();
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(file_, errno);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

void NewFile::append_hole(std::uint64_t num_bytes) {
    num_bytes_ += num_bytes;
    const auto end = static_cast<off_t>(num_bytes_);
    if (::ftruncate(fd_, end) != 0 || ::lseek(fd_, end, SEEK_SET) < 0) fail(file_, errno);
}

void NewFile::commit() {
    if (::fsync(fd_) != 0) fail(file_, errno);
    if (::rename(place_.c_str(), file_.c_str()) != 0) fail(file_, errno);
    ::close(std::exchange(fd_, -1));
}

void copy_file_bytes(const fs::path& from, const fs::path& to) {
    NewFile copy(to);
    copy.append(map_file(from, from.string())->bytes());
    copy.commit();
}

}  // namespace shardproof::reports
