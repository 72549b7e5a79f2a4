#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>

#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"
#include "oracle/model/safetensors_form.hpp"

namespace shardproof {
namespace {

using Named = std::pair<std::string, TensorView>;
namespace fs = std::filesystem;

struct Layout {
    std::string head;                    // length, JSON, padding
    std::vector<const TensorView*> body;  // in file order
    std::uint64_t num_bytes = 0;         // of the whole file
};

std::string quoted(std::string_view text, const std::string& file) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
        throw InputError({file, printable(text), "", "a name in a safetensors file must be UTF-8"});
    }
}

void append_metadata(std::string& json, const std::map<std::string, std::string>& metadata, const std::string& file) {
    if (metadata.empty()) return;
    json += fmt::format("\"{}\":{{", kMetadataKey);
    for (const auto& [key, value] : metadata) json += fmt::format("{}:{},", quoted(key, file), quoted(value, file));
    json.back() = '}';
    json += ',';
}

void check_size(const TensorView& tensor) {
    const auto bits =
        static_cast<std::uint64_t>(num_elements(tensor.shape)) * static_cast<std::uint64_t>(bits_of(tensor.dtype));
    SP_ASSERT(bits % 8 == 0);
    SP_ASSERT(bits / 8 == tensor.bytes.size());
}

Layout lay_out(const std::vector<Named>& tensors, const std::map<std::string, std::string>& metadata,
               const std::string& file) {
    std::vector<const Named*> order;
    for (const Named& named : tensors) order.push_back(&named);
    std::ranges::sort(order, [](const Named* a, const Named* b) {
        return std::tie(b->second.dtype, a->first) < std::tie(a->second.dtype, b->first);
    });

    Layout layout;
    std::string json = "{";
    append_metadata(json, metadata, file);
    std::uint64_t offset = 0;
    for (const Named* const named : order) {
        const auto& [name, tensor] = *named;
        check_size(tensor);
        const std::uint64_t end = offset + tensor.bytes.size();
        json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", quoted(name, file),
                            name_of(tensor.dtype), to_string(tensor.shape), offset, end);
        layout.body.push_back(&tensor);
        offset = end;
    }
    if (json.back() == ',') json.pop_back();
    json += '}';
    json.append((8 - json.size() % 8) % 8, ' ');

    const std::uint64_t length = json.size();
    layout.head.resize(sizeof length);
    std::memcpy(layout.head.data(), &length, sizeof length);
    layout.head += json;
    layout.num_bytes = layout.head.size() + offset;
    return layout;
}

void check_names(const std::vector<Named>& tensors, const std::string& file) {
    std::vector<std::string_view> names;
    for (const Named& named : tensors) names.push_back(named.first);
    std::ranges::sort(names);
    if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) {
        throw InputError({file, printable(*twice), "", "a tensor name must not come twice in one file"});
    }
    if (std::ranges::binary_search(names, kMetadataKey)) {
        throw InputError({file, std::string(kMetadataKey), "", "no tensor can have this name"});
    }
}

[[noreturn]] void fail(const fs::path& file, int error) {
    const std::string why = std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT) {
        throw EnvironmentError(fmt::format("{}: {}", file.string(), why),
                               "free space on that disk, or write elsewhere");
    }
    throw InputError({file.string(), "", "", "must be a file that can be written: " + why});
}

// The name to replace: a link's target, so that the link survives.
fs::path target_of(const fs::path& file) {
    struct stat status{};
    if (::stat(file.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
        // A rename would replace a device or FIFO by a file.
        throw InputError({file.string(), "", "", "must be a regular file, or not be there yet"});
    }
    std::error_code error;
    if (!fs::is_symlink(fs::symlink_status(file, error))) return file;
    fs::path target = fs::canonical(file, error);
    if (error) fail(file, error.value());
    return target;
}

// A file under a name of its own until `commit` gives it the right one; gone if that does not happen.
class TemporaryFile {
public:
    explicit TemporaryFile(const fs::path& target) : target_(target) {
        static std::atomic<unsigned> counter{0};
        do {
            path_ = target.parent_path() / fmt::format(".shardproof-{}-{}.tmp", ::getpid(), counter++);
            fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        } while (fd_ < 0 && errno == EEXIST);
        if (fd_ < 0) fail(target, errno);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (fd_ >= 0) ::close(fd_);
        if (!is_committed_) ::unlink(path_.c_str());
    }

    void append(const void* bytes, std::size_t size) {
        const char* next = static_cast<const char*>(bytes);
        while (size > 0) {
            const ssize_t written = ::write(fd_, next, size);
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) fail(target_, errno);
            next += written;
            size -= static_cast<std::size_t>(written);
        }
    }

    // On the disk first: a file that has its name is whole, also after a crash.
    void commit() {
        if (::fsync(fd_) != 0 && errno != EINVAL) fail(target_, errno);
        if (::close(std::exchange(fd_, -1)) != 0) fail(target_, errno);
        if (::rename(path_.c_str(), target_.c_str()) != 0) fail(target_, errno);
        is_committed_ = true;
    }

private:
    fs::path target_;
    fs::path path_;
    int fd_ = -1;
    bool is_committed_ = false;
};

}  // namespace

std::vector<std::byte> to_safetensors(const std::vector<Named>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
    check_names(tensors, "");
    const Layout layout = lay_out(tensors, metadata, "");
    std::vector<std::byte> bytes;
    bytes.reserve(layout.num_bytes);
    const auto append = [&](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
    append(std::as_bytes(std::span(layout.head)));
    for (const TensorView* const tensor : layout.body) append(tensor->bytes);
    return bytes;
}

void write_safetensors(const fs::path& file, const std::vector<Named>& tensors,
                       const std::map<std::string, std::string>& metadata) {
    check_names(tensors, file.string());
    const Layout layout = lay_out(tensors, metadata, file.string());
    TemporaryFile out(target_of(file));
    out.append(layout.head.data(), layout.head.size());
    for (const TensorView* const tensor : layout.body) out.append(tensor->bytes.data(), tensor->bytes.size());
    out.commit();
}

}  // namespace shardproof
