// The one file that sees CLI11: its headers cost seconds in every file that includes them.
#include "reports/option_set.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr const char* kHelpTitle = "Options";

InputError refusal(std::string name, const std::string& value, std::string rule) {
    return InputError({"command line", std::move(name), shortened(value), std::move(rule)});
}

// CLI11 says what is wrong as "OPTION: REASON", in one or more lines; the first is enough.
InputError as_input_error(const CLI::ParseError& error) {
    std::string text = error.what();
    text = text.substr(0, text.find('\n'));
    const std::size_t colon = text.find(": ");
    if (colon == std::string::npos) return refusal("", "", printable(text));
    // Only a missing value is left to CLI11 to find.
    const bool lacks_value = dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr;
    return refusal(printable(text.substr(0, colon)), "",
                   lacks_value ? "must have a value" : printable(text.substr(colon + 2)));
}

// No option means anything by an empty word; in a script it is a variable that was never set.
template <class Text>
OptionSet::Taker into(const std::string& name, Text& target) {
    return [name, &target](const std::string& value) {
        if (value.empty()) throw refusal(name, "", "must not be empty");
        target = value;
    };
}

}  // namespace

struct OptionSet::State {
    struct Declared {
        std::string name;
        CLI::Option* option;
        Need need;
        Taker take;
    };
    std::string command;
    CLI::App app;
    std::string title = kHelpTitle;
    std::vector<Declared> declared;

    // CLI11 collects all values; what is too many of them is said in our words.
    CLI::Option* declare(const Spelling& spelling, Taker take) {
        CLI::Option* const option =
            app.add_option(spelling.name, [](const CLI::results_t&) { return true; }, spelling.help);
        option->type_name(spelling.value_name)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        return keep(spelling.name, option, spelling.need, std::move(take));
    }
    CLI::Option* declare_flag(const std::string& name, const std::string& typed, const std::string& help,
                              bool& target) {
        CLI::Option* const option = app.add_flag(typed, help)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        return keep(name, option, Need::optional, [name, &target](const std::string& value) {
            if (value != "true" && value != "false") throw refusal(name, value, "takes no value");
            target = value == "true";
        });
    }
    CLI::Option* keep(const std::string& name, CLI::Option* option, Need need, Taker take) {
        option->group(title)->required(need == Need::required);
        declared.push_back({name, option, need, std::move(take)});
        return option;
    }
    // CLI11 does not tell an empty value from none.
    void refuse_empty_optional_values(std::span<const std::string> args) const {
        for (std::size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
            for (const Declared& one : declared) {
                if (one.option->get_expected_min() > 0 || one.option->get_expected_max() == 0) continue;
                const bool is_empty =
                    args[i] == one.name + "=" || (args[i] == one.name && i + 1 < args.size() && args[i + 1].empty());
                if (is_empty) throw refusal(one.name, "", "must not be empty");
            }
        }
    }
    // So that an unknown option is named before a missing one.
    void leave_requirements_to_us() const {
        for (const Declared& one : declared) one.option->required(false);
    }
};

OptionSet::OptionSet(const std::string& command, const std::string& summary) : state_{std::make_unique<State>()} {
    state_->command = command;
    state_->app.name("shardproof " + command);
    state_->app.description(summary);
    state_->app.allow_extras();
}

OptionSet::~OptionSet() = default;

void OptionSet::argument(const std::string& name, const std::string& help, std::filesystem::path& target) {
    state_->declare({name, "", help, Need::required}, into(name, target));
}

void OptionSet::argument(const std::string& name, const std::string& help,
                         std::optional<std::filesystem::path>& target) {
    state_->declare({name, "", help, Need::optional}, into(name, target));
}

void OptionSet::text(const Spelling& spelling, std::string& target) { value(spelling, into(spelling.name, target)); }

void OptionSet::text(const Spelling& spelling, std::optional<std::string>& target) {
    value(spelling, into(spelling.name, target));
}

void OptionSet::path(const Spelling& spelling, std::filesystem::path& target) {
    value(spelling, into(spelling.name, target));
}

void OptionSet::path(const Spelling& spelling, std::optional<std::filesystem::path>& target) {
    value(spelling, into(spelling.name, target));
}

void OptionSet::integer(const std::string& name, const std::string& help, std::optional<std::int64_t>& target) {
    value({name, "N", help}, [&target, name](const std::string& value) { target = parse_integer(name, value); });
}

void OptionSet::flag(const std::string& name, const std::string& help, bool& target) {
    state_->declare_flag(name, name, help, target);
}

void OptionSet::on_or_off(const std::string& name, const std::string& help, bool& target) {
    state_->declare_flag("--" + name, "--" + name + ",!--no-" + name, help, target);
}

void OptionSet::value(const Spelling& spelling, Taker take) { state_->declare(spelling, std::move(take)); }

void OptionSet::optional_value(const Spelling& spelling, Taker take) {
    state_->declare(spelling, std::move(take))->expected(0, 1);
}

void OptionSet::group(const std::string& title) { state_->title = title; }

bool OptionSet::parse(std::span<const std::string> args) {
    state_->leave_requirements_to_us();
    state_->refuse_empty_optional_values(args);
    try {
        state_->app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
    } catch (const CLI::CallForHelp&) {
        return false;
    } catch (const CLI::ParseError& error) {
        throw as_input_error(error);
    }
    for (const State::Declared& one : state_->declared) {
        const std::vector<std::string>& values = one.option->results();
        if (values.size() > 1) throw refusal(one.name, values[1], "must be given once");
        if (!values.empty()) one.take(values.front());
    }
    for (const std::string& extra : state_->app.remaining()) {
        if (extra == "--") continue;  // what follows it is no option
        throw refusal(printable(extra), "", "no such option or argument of '" + state_->command + "'");
    }
    for (const State::Declared& one : state_->declared) {
        if (one.need == Need::required && one.option->empty()) throw refusal(one.name, "", "must be given");
    }
    return true;
}

std::string OptionSet::help() const {
    for (const State::Declared& one : state_->declared) one.option->required(one.need == Need::required);
    return state_->app.help();
}

std::int64_t parse_integer(const std::string& field, const std::string& text) {
    std::int64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range && stop == end) {
        throw refusal(field, text, fmt::format("must be from {} to {}", INT64_MIN, INT64_MAX));
    }
    if (error != std::errc{} || stop != end) throw refusal(field, text, "must be a whole number");
    return value;
}

}  // namespace shardproof::reports
