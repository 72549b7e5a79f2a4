// Answer: what a command says, as text for people and, where --json asks for it, as JSON for machines.
#pragma once
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>

#include "reports/command.hpp"
#include "reports/json.hpp"

namespace shardproof::reports {

class Answer {
public:
    // `json_target` is --json's value: empty for none, "-" for standard output, which then carries nothing else. Throws
    // InputError at once when the file could not be written later, or is of the `model` that the command reads.
    Answer(std::string json_target, const Console& console, const std::filesystem::path& model = {});

    // For people; swallowed while standard output carries JSON.
    [[nodiscard]] std::ostream& text() const;
    // Calls `write` where JSON is wanted. A file takes its name when it is complete.
    void json(const std::function<void(JsonWriter&)>& write) const;
    // The same where the JSON is at hand already.
    void json_text(const std::function<void(std::ostream&)>& write) const;
    [[nodiscard]] bool wants_json() const { return !json_target_.empty(); }

private:
    std::string json_target_;
    const Console* console_;
};

// Throws InputError naming `option` unless a file of this name can be made or replaced.
void require_writable(const std::filesystem::path& file, const std::string& option);
// Throws InputError where writing `file` would replace what a command reads: the file `model` itself, or config.json or
// model* in that folder.
void require_not_of_model(const std::filesystem::path& file, const std::string& option,
                          const std::filesystem::path& model);
// Writes to a temporary name beside `file`, then renames. Devices and pipes are written directly. Throws
// EnvironmentError when the disk is full, InputError when the folder cannot be written.
void write_file(const std::filesystem::path& file, const std::string& option,
                const std::function<void(std::ostream&)>& write);

}  // namespace shardproof::reports
