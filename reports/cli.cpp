#include "reports/cli.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <new>

#include "oracle/model/error.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/option_set.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr std::string_view kVersion = "shardproof 0.1.0";

void print_usage(std::ostream& out) {
    out << "Proves that a sharded mixture-of-experts model is the same model.\n\n"
           "usage: shardproof COMMAND ...        shardproof COMMAND --help\n\n";
    for (const Command& command : commands()) out << fmt::format("  {:<9}{}\n", command.name, command.summary);
    out << "\nexit: 0 all holds, 1 a check failed, 2 bad input, 3 the environment lacks something\n";
}

std::string command_names() {
    std::string names;
    for (const Command& command : commands()) names += (names.empty() ? "" : ", ") + std::string{command.name};
    return names;
}

const Command& command_named(const std::string& name) {
    const auto found = std::ranges::find(commands(), name, &Command::name);
    if (found == commands().end()) {
        throw InputError({"command line", "command", shortened(name), "must be one of " + command_names()});
    }
    return *found;
}

int run_command(const Command& command, std::span<const std::string> args, const Console& console) {
    OptionSet options{std::string{command.name}, std::string{command.summary}};
    const Action action = command.declare(options);
    if (!options.parse(args)) {
        console.out << options.help();
        return exit_ok;
    }
    return action(console);
}

int dispatch(std::span<const std::string> args, const Console& console) {
    if (args.empty()) {
        throw InputError({"command line", "", "", "a command is needed: one of " + command_names()});
    }
    const std::string& first = args.front();
    if (first == "--help" || first == "-h" || first == "help") {
        print_usage(console.out);
        return exit_ok;
    }
    if (first == "--version") {
        console.out << kVersion << '\n';
        return exit_ok;
    }
    const int code = run_command(command_named(first), args.subspan(1), console);
    if (!console.out.flush()) {
        throw EnvironmentError("standard output cannot be written", "free space, or write elsewhere");
    }
    return code;
}

int complain(std::ostream& err, std::string_view text, int code) {
    err << "shardproof: " << text << '\n' << std::flush;
    return code;
}

}  // namespace

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
    const Console console{out, err, &err == &std::cerr && isatty(STDERR_FILENO) == 1};
    try {
        return dispatch(args, console);
    } catch (const InputError& error) {
        return complain(err, error.what(), exit_bad_input);
    } catch (const EnvironmentError& error) {
        return complain(err, error.what(), exit_environment);
    } catch (const std::bad_alloc&) {
        return complain(err, "memory ran out: use a machine with more", exit_environment);
    } catch (const std::exception& error) {
        return complain(err, error.what(), exit_bug);
    }
}

}  // namespace shardproof::reports
