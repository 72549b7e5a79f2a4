#include "reports/new_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "reports/writable.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

// The kernel does not write from pages of a mapped file that are gone. Read here they become zeros (byte_source.hpp),
// and require_intact() tells.
void touch(std::span<const std::byte> bytes) {
    constexpr std::size_t kPage = 4096;
    for (std::size_t at = 0; at < bytes.size(); at += kPage)
        static_cast<void>(*static_cast<const volatile std::byte*>(bytes.data() + at));
    static_cast<void>(*static_cast<const volatile std::byte*>(&bytes.back()));
}

}  // namespace

NewFile::NewFile(fs::path file) : file_{std::move(file)} {
    std::error_code error;
    if (file_.has_parent_path()) fs::create_directories(file_.parent_path(), error);
    if (error) throw_unwritable(file_, error.value());
    place_ = file_.parent_path() / fmt::format(".{}.tmp-{}", file_.filename().string(), getpid());
    fd_ = ::open(place_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) throw_unwritable(file_, errno);
}

NewFile::~NewFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(place_.c_str());
}

void NewFile::append(std::span<const std::byte> bytes) {
    num_bytes_ += bytes.size();
    bool is_touched = false;
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EFAULT && !is_touched) {
            touch(bytes);
            is_touched = true;
            continue;
        }
        if (written < 0) throw_unwritable(file_, errno);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

void NewFile::append_hole(std::uint64_t num_bytes) {
    num_bytes_ += num_bytes;
    const auto end = static_cast<off_t>(num_bytes_);
    if (::ftruncate(fd_, end) != 0 || ::lseek(fd_, end, SEEK_SET) < 0) throw_unwritable(file_, errno);
}

void NewFile::commit() {
    if (::fsync(fd_) != 0) throw_unwritable(file_, errno);
    if (::rename(place_.c_str(), file_.c_str()) != 0) throw_unwritable(file_, errno);
    ::close(std::exchange(fd_, -1));
}

void copy_file_bytes(const fs::path& from, const fs::path& to) {
    NewFile copy(to);
    copy.append(map_file(from, from.string())->bytes());
    copy.commit();
}

}  // namespace shardproof::reports
