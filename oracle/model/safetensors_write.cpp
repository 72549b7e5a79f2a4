#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <system_error>
#include <tuple>

#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"
#include "oracle/model/safetensors_form.hpp"

namespace shardproof {
namespace {

using Named = std::pair<std::string, TensorView>;
namespace fs = std::filesystem;

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

std::uint64_t bytes_of(const TensorForm& tensor) {
    const auto bits =
        static_cast<std::uint64_t>(num_elements(tensor.shape)) * static_cast<std::uint64_t>(bits_of(tensor.dtype));
    SP_ASSERT(bits % 8 == 0);
    return bits / 8;
}

SafetensorsForm lay_out(const std::vector<TensorForm>& tensors, const std::map<std::string, std::string>& metadata,
                        const std::string& file) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
        return std::tie(tensors[b].dtype, tensors[a].name) < std::tie(tensors[a].dtype, tensors[b].name);
    });

    SafetensorsForm form;
    form.begin.resize(tensors.size());
    std::string json = "{";
    append_metadata(json, metadata, file);
    std::uint64_t offset = 0;
    for (const std::size_t i : order) {
        const TensorForm& tensor = tensors[i];
        const std::uint64_t end = offset + bytes_of(tensor);
        json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", quoted(tensor.name, file),
                            name_of(tensor.dtype), to_string(tensor.shape), offset, end);
        form.begin[i] = offset;
        offset = end;
    }
    if (json.back() == ',') json.pop_back();
    json += '}';
    json.append((8 - json.size() % 8) % 8, ' ');

    const std::uint64_t length = json.size();
    form.head.resize(sizeof length);
    std::memcpy(form.head.data(), &length, sizeof length);
    form.head += json;
    for (std::uint64_t& begin : form.begin) begin += form.head.size();
    form.num_bytes = form.head.size() + offset;
    return form;
}

std::vector<TensorForm> forms_of(const std::vector<Named>& tensors) {
    std::vector<TensorForm> forms;
    for (const auto& [name, tensor] : tensors) forms.push_back({name, tensor.dtype, tensor.shape});
    return forms;
}

// The tensors as they stand in the file.
std::vector<const TensorView*> in_file_order(const std::vector<Named>& tensors, const SafetensorsForm& form) {
    std::vector<std::pair<std::uint64_t, std::size_t>> order;
    for (std::size_t i = 0; i < tensors.size(); ++i) order.emplace_back(form.begin[i], i);
    // Empty tensors begin where the next one does, and have nothing to write.
    std::ranges::sort(order);
    std::vector<const TensorView*> body;
    for (const auto& [begin, i] : order) {
        SP_ASSERT(tensors[i].second.bytes.size() == bytes_of({{}, tensors[i].second.dtype, tensors[i].second.shape}));
        body.push_back(&tensors[i].second);
    }
    return body;
}

void check_names(const std::vector<TensorForm>& tensors, const std::string& file) {
    std::vector<std::string_view> names;
    for (const TensorForm& tensor : tensors) names.push_back(tensor.name);
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

SafetensorsForm safetensors_form(const std::vector<TensorForm>& tensors,
                                 const std::map<std::string, std::string>& metadata) {
    check_names(tensors, "");
    return lay_out(tensors, metadata, "");
}

std::vector<std::byte> to_safetensors(const std::vector<Named>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
    const SafetensorsForm form = safetensors_form(forms_of(tensors), metadata);
    std::vector<std::byte> bytes;
    bytes.reserve(form.num_bytes);
    const auto append = [&](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
    append(std::as_bytes(std::span(form.head)));
    for (const TensorView* const tensor : in_file_order(tensors, form)) append(tensor->bytes);
    return bytes;
}

void write_safetensors(const fs::path& file, const std::vector<Named>& tensors,
                       const std::map<std::string, std::string>& metadata) {
    const std::vector<TensorForm> forms = forms_of(tensors);
    check_names(forms, file.string());
    const SafetensorsForm form = lay_out(forms, metadata, file.string());
    TemporaryFile out(target_of(file));
    out.append(form.head.data(), form.head.size());
    for (const TensorView* const tensor : in_file_order(tensors, form)) {
        out.append(tensor->bytes.data(), tensor->bytes.size());
    }
    out.commit();
}

}  // namespace shardproof
