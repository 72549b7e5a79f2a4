// A command is a row: its name, and a function that declares its options and hands back what to do once they are
// parsed.
#pragma once
#include <functional>
#include <iosfwd>
#include <span>
#include <string_view>

namespace shardproof::reports {

class OptionSet;

struct Console {
    std::ostream& out;
    std::ostream& err;
    bool err_is_terminal = false;  // progress bars are drawn only there
};

// Runs the command and returns its exit code.
using Action = std::function<int(const Console&)>;

struct Command {
    std::string_view name;
    std::string_view summary;
    Action (*declare)(OptionSet& options);
};
[[nodiscard]] std::span<const Command> commands();

[[nodiscard]] Action declare_inspect(OptionSet& options);
[[nodiscard]] Action declare_plan(OptionSet& options);
[[nodiscard]] Action declare_load(OptionSet& options);
[[nodiscard]] Action declare_merge(OptionSet& options);
[[nodiscard]] Action declare_synth(OptionSet& options);
[[nodiscard]] Action declare_verify(OptionSet& options);
[[nodiscard]] Action declare_run(OptionSet& options);
[[nodiscard]] Action declare_check(OptionSet& options);
[[nodiscard]] Action declare_fuzz(OptionSet& options);
[[nodiscard]] Action declare_demo(OptionSet& options);

}  // namespace shardproof::reports
