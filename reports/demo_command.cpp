// demo: the main job on the checkpoint that ships with the repository, then once more with a planted fault.
#include <ostream>
#include <string>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/cli.hpp"
#include "reports/demo.hpp"
#include "reports/exit.hpp"
#include "reports/replay.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIntroduction =
    "A small mixture-of-experts model is cut into 8 parts, as it would be for 8 GPUs: 4 data-parallel groups of\n"
    "2 tensor-parallel ranks, with the experts spread over all 8. The 8 ranks run here, on the CPU; no GPU is\n"
    "needed, and it takes a second or two.\n\n";

// The repository's own checkpoint: build/bin/shardproof lies two folders below its root.
fs::path demo_model() {
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/self/exe", error);
    const fs::path model = program.parent_path().parent_path().parent_path() / "oracle" / "golden" / "demo";
    if (error || !fs::exists(model / "config.json", error)) {
        throw EnvironmentError("the demo's checkpoint is not at " + printable(model.string()),
                               "run the demo from the repository: ./shardproof demo");
    }
    const fs::path relative = fs::proximate(model, error);
    return error || relative.string().size() > model.string().size() ? model : relative;
}

struct Step {
    std::string_view title;  // what happens, and what to look at; printed before the work begins
    std::string_view command;
    std::vector<std::string> options;
};

int run_step(const Step& step, const fs::path& model, const Console& console) {
    std::vector<std::string> args{
        std::string{step.command}, model.string(), "--dp-shard", "4", "--tp", "2", "--ep", "8"};
    args.insert(args.end(), step.options.begin(), step.options.end());
    ReplayLine line{step.command};
    for (std::size_t i = 1; i < args.size(); ++i) line.word(args[i]);
    console.out << step.title << "\n$ " << line.text() << "\n\n" << std::flush;
    const int code = run(args, console.out, console.err);
    console.out << '\n' << std::flush;
    return code;
}

int run_demo(const Console& console) { return show_demo(demo_model(), console); }

}  // namespace

int show_demo(const fs::path& model, const Console& console) {
    console.out << kIntroduction;
    const Step plan{
        "1. Plan: which rank holds which part of each parameter. S(d) means cut along dim d.", "plan", {"--summary"}};
    if (const int code = run_step(plan, model, console); code != exit_ok) return code;

    const Step check{
        "2. Check: every rank loads its part, 64 tokens run through all 8, and each layer's output on each\n"
        "   rank is compared with the oracle's: one plain program in float64 that knows no ranks. An error\n"
        "   must not exceed its bound, which follows from the arithmetic. A layer is judged by the input\n"
        "   that it got, so an error counts where it is made and not again further on.",
        "check",
        {"--tokens", "64"}};
    if (const int code = run_step(check, model, console); code != exit_ok) return code;

    const Step fault{
        "3. The same with a fault planted: what comes back from the experts is added in the order in which\n"
        "   it was sent, not in that of the tokens. The check must now fail, and say where.",
        "check",
        {"--tokens", "64", "--plant", "m13"}};
    if (const int code = run_step(fault, model, console); code != exit_failed) {
        console.err << "shardproof: the planted fault was not found\n";
        return code == exit_ok ? int{exit_failed} : code;
    }
    console.out << "Done. The model computes the same on 8 ranks, and the planted fault was found, with its place.\n"
                   "Next, your own checkpoint: ./shardproof check MODEL --dp-shard 4 --tp 2 --ep 8\n";
    return exit_ok;
}

Action declare_demo(OptionSet&) { return run_demo; }

}  // namespace shardproof::reports
