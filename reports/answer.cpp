#include "reports/answer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/writable.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

// A stream that takes everything and keeps nothing.
std::ostream& nowhere() {
    static std::ostream stream{nullptr};
    return stream;
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path{"."}; }

// The names that a name leads through: itself, then link by link, as far as they can be followed.
std::vector<fs::path> links_from(const fs::path& file) {
    constexpr std::size_t kLinksMax = 40;  // as the kernel follows them
    std::vector<fs::path> names{file};
    std::error_code error;
    while (names.size() <= kLinksMax && fs::is_symlink(fs::symlink_status(names.back(), error))) {
        const fs::path next = fs::read_symlink(names.back(), error);
        if (error) break;
        names.push_back(next.is_absolute() ? next : folder_of(names.back()) / next);
    }
    return names;
}

// The name that a rename may replace: where links lead, so that they stay. Throws where they lead in a circle.
fs::path target_of(const fs::path& file, const std::string& option) {
    fs::path last = links_from(file).back();
    std::error_code error;
    if (!fs::is_symlink(fs::symlink_status(last, error))) return last;
    throw InputError({file.string(), option, "", "must be writable: its links lead nowhere"});
}

// /dev/stdout, /proc/self/fd/1: a link of /proc to a file that is open already, which another name would not reach.
bool leads_to_open_file(const fs::path& file) {
    return std::ranges::any_of(links_from(file), [](const fs::path& name) {
        std::error_code error;
        if (!fs::is_symlink(fs::symlink_status(name, error))) return false;
        const std::string folder = fs::weakly_canonical(folder_of(name), error).string();
        return folder.starts_with("/proc/") || folder.starts_with("/dev/fd");
    });
}

// Written aside and renamed; a device, a FIFO and what /proc or /dev shows of an open file are written as they are.
bool is_plain(const fs::path& file) {
    std::error_code error;
    const fs::file_status status = fs::status(file, error);
    if (fs::exists(status) && !fs::is_regular_file(status)) return false;
    return !leads_to_open_file(file);
}

}  // namespace

void require_writable(const fs::path& file, const std::string& option) {
    std::error_code error;
    if (fs::is_directory(file, error)) throw InputError({file.string(), option, "", "must be a file, is a directory"});
    std::string why;
    if (is_plain(file)) {
        why = why_not_writable(folder_of(target_of(file, option)));
    } else if (access(file.c_str(), W_OK) != 0) {
        why = std::strerror(errno);
    }
    if (!why.empty()) throw InputError({file.string(), option, "", "must be writable: " + why});
}

void require_not_of_model(const fs::path& file, const std::string& option, const fs::path& model) {
    std::error_code error;
    const std::string name = file.filename().string();
    const bool is_model_file =
        (name == "config.json" || name.starts_with("model")) && fs::equivalent(folder_of(file), model, error);
    if (!fs::exists(file, error) || !(is_model_file || fs::equivalent(file, model, error))) return;
    throw InputError({file.string(), option, "", "must not replace a file of the model"});
}

void write_file(const fs::path& file, const std::string& option, const std::function<void(std::ostream&)>& write) {
    require_writable(file, option);
    const bool plain = is_plain(file);
    const fs::path place = plain ? target_of(file, option) : file;
    const fs::path target = plain ? fs::path{place.string() + fmt::format(".tmp-{}", getpid())} : file;
    try {
        std::ofstream out(target, std::ios::binary);
        if (!out)
            throw InputError({file.string(), option, "", fmt::format("must be writable: {}", std::strerror(errno))});
        write(out);
        out.close();
        if (!out) {
            throw EnvironmentError(fmt::format("{} could not be written completely", printable(file.string())),
                                   "free space on that disk");
        }
        if (plain) fs::rename(target, place);
    } catch (...) {
        std::error_code ignored;
        if (plain) fs::remove(target, ignored);
        throw;
    }
}

Answer::Answer(std::string json_target, const Console& console, const fs::path& model)
    : json_target_{std::move(json_target)}, console_{&console} {
    if (json_target_.empty() || json_target_ == "-") return;
    require_writable(json_target_, "--json");
    if (!model.empty()) require_not_of_model(json_target_, "--json", model);
}

std::ostream& Answer::text() const { return json_target_ == "-" ? nowhere() : console_->out; }

void Answer::json(const std::function<void(JsonWriter&)>& write) const {
    json_text([&](std::ostream& out) {
        JsonWriter json{out};
        write(json);
    });
}

void Answer::json_text(const std::function<void(std::ostream&)>& write) const {
    if (json_target_.empty()) return;
    if (json_target_ == "-") {
        write(console_->out);
    } else {
        write_file(json_target_, "--json", write);
    }
}

}  // namespace shardproof::reports
