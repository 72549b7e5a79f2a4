// The command line: parses, calls one command, and turns what went wrong into an exit code and one line.
#pragma once
#include <iosfwd>
#include <span>
#include <string>

namespace shardproof::reports {

// Runs `shardproof ARGS` and returns its exit code. Answers go to `out`; errors, notes and progress to `err`. Throws
// nothing: every exception becomes a line on `err` and an exit code of exit.hpp.
[[nodiscard]] int run(std::span<const std::string> args, std::ostream& out, std::ostream& err);

}  // namespace shardproof::reports
