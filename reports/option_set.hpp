// OptionSet: the argument and the options of one command. Declared first, filled when a command line is parsed. All
// that can be wrong with a command line is an InputError of the form "command line: OPTION=VALUE: RULE".
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace shardproof::reports {

enum class Need : std::uint8_t { optional, required };

// How an option is typed and what --help says of it: "--out FILE   safetensors file that gets logits".
struct Spelling {
    std::string name;
    std::string value_name;
    std::string help;
    Need need = Need::optional;
};

class OptionSet {
public:
    using Taker = std::function<void(const std::string& value)>;

    OptionSet(const std::string& command, const std::string& summary);
    ~OptionSet();
    OptionSet(const OptionSet&) = delete;
    OptionSet& operator=(const OptionSet&) = delete;

    // What stands without dashes, once; it must be given where `target` is not optional. Targets must outlive parse().
    // Empty texts and paths are refused.
    void argument(const std::string& name, const std::string& help, std::filesystem::path& target);
    void argument(const std::string& name, const std::string& help, std::optional<std::filesystem::path>& target);
    void text(const Spelling& spelling, std::string& target);
    void text(const Spelling& spelling, std::optional<std::string>& target);
    void path(const Spelling& spelling, std::filesystem::path& target);
    void path(const Spelling& spelling, std::optional<std::filesystem::path>& target);
    // A whole number and nothing else: no "0x10", no "4.0", no "4 ".
    void integer(const std::string& name, const std::string& help, std::optional<std::int64_t>& target);
    void flag(const std::string& name, const std::string& help, bool& target);
    // --NAME and --no-NAME.
    void on_or_off(const std::string& name, const std::string& help, bool& target);
    // `take` gets what was typed, and may throw InputError.
    void value(const Spelling& spelling, Taker take);
    // The value may be left out: `take` gets "" then. One that is given must not be empty.
    void optional_value(const Spelling& spelling, Taker take);

    // The options declared from here on stand under this title in --help.
    void group(const std::string& title);

    // Fills the targets. Throws InputError: unknown, given twice, without its value, required and absent. Returns false
    // where --help was typed; nothing is filled then.
    [[nodiscard]] bool parse(std::span<const std::string> args);
    [[nodiscard]] std::string help() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Throws InputError "command line: FIELD=VALUE: must be a whole number", or the range where it is one.
[[nodiscard]] std::int64_t parse_integer(const std::string& field, const std::string& text);

}  // namespace shardproof::reports
