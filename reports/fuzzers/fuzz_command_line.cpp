// A command line, one word a line: the options of every command are parsed, nothing is run. A layout that was typed is
// made as well, but for one that a file says.
#include <algorithm>
#include <string>
#include <vector>

#include "props/fuzzers/fuzz_target.hpp"
#include "reports/command.hpp"
#include "reports/option_set.hpp"
#include "reports/options.hpp"

namespace {

using namespace shardproof;
using namespace shardproof::fuzzers;

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

void parse(const reports::Command& command, std::span<const std::string> words) {
    reports::OptionSet options{std::string{command.name}, std::string{command.summary}};
    const reports::Action action = command.declare(options);
    if (!options.parse(words)) require(!options.help().empty(), "no help");
}

void make_layout(std::span<const std::string> words) {
    reports::OptionSet options{"layout", "a layout alone"};
    reports::LayoutOptions typed;
    reports::add_layout(options, typed);
    if (!options.parse(words) || typed.expert_map) return;
    const reports::Layout layout = reports::layout_of(typed);
    require(layout.dims.world() >= 1 && layout.rules != nullptr, "a layout without ranks or rules was taken");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const InTwoSeconds limit;
    const std::vector<std::string> words = words_of(as_text(data, size));
    if (words.empty()) return 0;
    const std::span rest = std::span(words).subspan(1);
    if (words.front() == "layout") (void)taken([&] { make_layout(rest); });
    const auto command = std::ranges::find(reports::commands(), words.front(), &reports::Command::name);
    if (command != reports::commands().end()) (void)taken([&] { parse(*command, rest); });
    return 0;
}
