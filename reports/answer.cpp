#include "reports/answer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>
#include <utility>

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

bool is_plain(const fs::path& file) {
    std::error_code error;
    const fs::file_status status = fs::status(file, error);
    return !fs::exists(status) || fs::is_regular_file(status);
}

}  // namespace

void require_writable(const fs::path& file, const std::string& option) {
    std::error_code error;
    if (fs::is_directory(file, error)) throw InputError({file.string(), option, "", "must be a file, is a directory"});
    std::string why;
    if (is_plain(file)) {
        why = why_not_writable(folder_of(file));
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
    const fs::path target = plain ? fs::path{file.string() + fmt::format(".tmp-{}", getpid())} : file;
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
        if (plain) fs::rename(target, file);
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
