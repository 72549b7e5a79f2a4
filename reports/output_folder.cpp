#include "reports/output_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"
#include "reports/writable.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& folder, const std::string& rule) {
    throw InputError({folder.string(), "--out", "", rule});
}

// "out/" and "out" are one folder.
fs::path without_slash(fs::path folder) {
    if (folder.has_filename()) return folder;
    return folder.parent_path();
}

fs::path parent_of(const fs::path& folder) { return folder.has_parent_path() ? folder.parent_path() : fs::path{"."}; }

// What exists of the way to `folder`.
fs::path existing_ancestor(fs::path folder) {
    std::error_code error;
    while (!fs::exists(folder, error) && parent_of(folder) != folder) folder = parent_of(folder);
    return folder;
}

// "NAME.tmp-123" and ".shardproof-123-0.tmp": a name with the number of a process that is no more. It was killed before
// it could rename or remove what it wrote.
bool is_leftover(std::string_view name) {
    constexpr std::string_view kTmp = ".tmp-";
    constexpr std::string_view kOurs = ".shardproof-";
    std::size_t at = name.rfind(kTmp);
    at = at != std::string_view::npos ? at + kTmp.size() : name.starts_with(kOurs) ? kOurs.size() : name.size();
    pid_t process = 0;
    const auto [end, error] = std::from_chars(name.data() + at, name.data() + name.size(), process);
    const std::string_view rest{end, static_cast<std::size_t>(name.data() + name.size() - end)};
    if (error != std::errc{} || process <= 0 || !(rest.empty() || rest.ends_with(".tmp"))) return false;
    return ::kill(process, 0) != 0 && errno == ESRCH;
}

// Of names that begin so.
void remove_leftovers(const fs::path& folder, const std::string& beginning) {
    std::error_code error;
    std::vector<fs::path> found;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (name.starts_with(beginning) && is_leftover(name)) found.push_back(entry->path());
    }
    for (const fs::path& path : found) fs::remove_all(path, error);
}

void sync_folder(const fs::path& folder) {
    const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return;  // its entries reach the disk without being asked, only later
    ::fsync(opened);
    ::close(opened);
}

}  // namespace

OutputFolder::OutputFolder(fs::path folder) : folder_{without_slash(std::move(folder))} {
    if (folder_.empty()) refuse(folder_, "must name a folder");
    std::error_code error;
    const fs::file_status status = fs::status(folder_, error);
    is_new_ = !fs::exists(status);
    const fs::path there = existing_ancestor(folder_);
    if (!fs::is_directory(there, error)) refuse(there, "must be a folder");
    if (const std::string why = why_not_writable(there); !why.empty()) refuse(there, "must be writable: " + why);
    place_ = is_new_ ? fs::path{folder_.string() + fmt::format(".tmp-{}", getpid())} : folder_;
}

OutputFolder::~OutputFolder() {
    std::error_code ignored;
    if (is_open_ && is_new_) fs::remove_all(place_, ignored);
}

void OutputFolder::require_space(std::uint64_t bytes_needed) const {
    std::error_code error;
    const fs::path there = existing_ancestor(folder_);
    const fs::space_info space = fs::space(there, error);
    if (error || space.capacity == 0 || space.available >= bytes_needed) return;
    throw EnvironmentError(fmt::format("the disk is too small: {} needs {} bytes ({}), {} bytes ({}) are free",
                                       printable(folder_.string()), bytes_needed, bytes_text(bytes_needed),
                                       space.available, bytes_text(space.available)),
                           "free space, or choose another --out");
}

const fs::path& OutputFolder::place() {
    if (is_open_) return place_;
    std::error_code error;
    if (is_new_) remove_leftovers(parent_of(folder_), folder_.filename().string() + ".tmp-");
    for (const char* ours : {".rank_", "manifest.json", ".config.json", ".checkpoint.json", ".shardproof-"}) {
        if (!is_new_) remove_leftovers(folder_, ours);
    }
    if (is_new_) fs::create_directories(place_, error);
    if (error) refuse(folder_, fmt::format("must be writable: {}", error.message()));
    is_open_ = true;
    return place_;
}

void OutputFolder::commit() {
    std::error_code error;
    sync_folder(place());
    if (is_new_) fs::rename(place(), folder_, error);
    if (is_new_ && !error) sync_folder(parent_of(folder_));
    if (error) refuse(folder_, fmt::format("must be writable: {}", error.message()));
    is_open_ = false;
}

}  // namespace shardproof::reports
