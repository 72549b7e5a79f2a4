// A file as a ByteSource, and what becomes of it when the file changes under the map.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/lost_pages.hpp"

namespace shardproof {
namespace {

struct FileDescriptor {
    int fd = -1;
    FileDescriptor() = default;
    explicit FileDescriptor(int raw) : fd(raw) {}
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() {
        if (fd >= 0) ::close(fd);
    }
};

std::string_view kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a FIFO";
    if (S_ISSOCK(mode)) return "a socket";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    return "of another kind";
}

[[noreturn]] void refuse(const std::filesystem::path& file, std::string rule) {
    throw InputError({.file = file.string(), .field = "", .value = "", .rule = std::move(rule)});
}

[[noreturn]] void refuse_errno(const std::filesystem::path& file, int error) {
    if (error == ENOENT || error == ENOTDIR) refuse(file, "file missing");
    refuse(file, "must be a readable file: " + std::generic_category().message(error));
}

void require_regular(const std::filesystem::path& file, const struct stat& status) {
    if (!S_ISREG(status.st_mode))
        refuse(file, fmt::format("must be a regular file, it is {}", kind_of(status.st_mode)));
}

bool same_moment(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

class MappedFile final : public ByteSource {
public:
    MappedFile(std::span<const std::byte> bytes, std::filesystem::path path, const struct stat& opened,
               std::string name)
        : bytes_(bytes), watch_(bytes), path_(std::move(path)), opened_(opened), name_(std::move(name)) {}
    ~MappedFile() override {
        watch_.stop();
        // munmap takes a non-const address; nothing is written.
        ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    }
    [[nodiscard]] std::span<const std::byte> bytes() const override { return bytes_; }
    [[nodiscard]] const std::string& name() const override { return name_; }

    void require_intact() const override {
        struct stat now{};
        // Another file under this name, or none, leaves the one that is mapped as it was.
        const bool is_there =
            ::stat(path_.c_str(), &now) == 0 && now.st_dev == opened_.st_dev && now.st_ino == opened_.st_ino;
        if (is_there && now.st_size < opened_.st_size) {
            refuse(path_, fmt::format("was cut short while it was read: bytes from offset {} on are gone, it had {}",
                                      now.st_size, opened_.st_size));
        }
        if (const auto offset = watch_.lost()) {
            throw EnvironmentError(fmt::format("{} cannot be read at offset {}", printable(path_.string()), *offset),
                                   "see that the disk or the network behind it is well, and try again");
        }
        if (is_there && !same_moment(now.st_mtim, opened_.st_mtim))
            refuse(path_, "was written to while it was read: it may have been read half old, half new");
    }

private:
    std::span<const std::byte> bytes_;
    LostPages watch_;
    std::filesystem::path path_;
    struct stat opened_;
    std::string name_;
};

}  // namespace

std::shared_ptr<const ByteSource> map_file(const std::filesystem::path& file, std::string name) {
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0) refuse_errno(file, errno);
    require_regular(file, status);
    // Asked again of the open file, and opened without blocking: another program may put a FIFO there in between.
    const FileDescriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (opened.fd < 0 || ::fstat(opened.fd, &status) != 0) refuse_errno(file, errno);
    require_regular(file, status);

    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0) return own_bytes({}, std::move(name));  // mmap refuses 0
    void* const address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, opened.fd, 0);
    if (address == MAP_FAILED && errno == ENOMEM) {
        throw EnvironmentError(fmt::format("{} cannot be mapped: {} bytes of address space are needed, fewer are left",
                                           printable(file.string()), size),
                               "raise the limit (ulimit -v)");
    }
    if (address == MAP_FAILED) refuse_errno(file, errno);
    return std::make_shared<MappedFile>(std::span(static_cast<const std::byte*>(address), size), file, status,
                                        std::move(name));
}

}  // namespace shardproof
