#include "reports/cli.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

// Exit 2, nothing on standard output, and one line that holds all of `texts`.
void expect_refused(const std::vector<std::string>& args, const std::vector<std::string>& texts) {
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, 2) << printed.err;
    EXPECT_EQ(printed.out, "");
    EXPECT_EQ(std::ranges::count(printed.err, '\n'), 1) << printed.err;
    for (const std::string& text : texts) EXPECT_THAT(printed.err, HasSubstr(text));
}

TEST(CommandLine, RefusesUnknownCommandsByName) {
    expect_refused({"bench"}, {"command=bench", "must be one of inspect, plan"});
    expect_refused({}, {"a command is needed"});
    expect_refused({"pl\nan"}, {"pl\\nan"});
}

TEST(CommandLine, RefusesUnknownOptionsAndStrayArguments) {
    expect_refused({"plan", kDemo, "--no-such"}, {"--no-such", "no such option"});
    expect_refused({"plan", kDemo, "another"}, {"another", "no such option or argument of 'plan'"});
    expect_refused({"inspect"}, {"PATH"});
}

TEST(CommandLine, RefusesNumbersThatAreNotWhole) {
    for (const char* text : {"two", "2.0", "0x2", "2 ", "", "99999999999999999999x"}) {
        expect_refused({"plan", kDemo, "--tp", text}, {"command line: --tp", "must be a whole number"});
    }
}

TEST(CommandLine, SaysTheRangeOfAWholeNumberOutsideIt) {
    const std::string large = "99999999999999999999";
    for (const char* option : {"--tp", "--rank"}) {
        expect_refused({"plan", kDemo, option, large}, {std::string{option} + "=" + large +
                                                        ": must be from -9223372036854775808 to 9223372036854775807"});
    }
    expect_refused({"fuzz", "--seed", "-" + large}, {"--seed=-" + large + ": must be from -9223372036854775808"});
}

TEST(CommandLine, RefusesAnOptionGivenTwice) {
    expect_refused({"plan", kDemo, "--tp", "2", "--tp", "1"}, {"command line: --tp=1: must be given once"});
    expect_refused({"plan", kDemo, "--rules", "titan-infer", "--rules=titan-infer"},
                   {"--rules=titan-infer: must be given once"});
    expect_refused({"plan", kDemo, "--sp", "--no-sp"}, {"--sp=false: must be given once"});
    expect_refused({"plan", kDemo, "--summary", "--summary"}, {"--summary=true: must be given once"});
}

TEST(CommandLine, RefusesMissingAndEmptyValues) {
    expect_refused({"plan", kDemo, "--tp"}, {"command line: --tp: must have a value"});
    expect_refused({"plan", kDemo, "--tp", "--ep", "2"}, {"--tp=--ep: must be a whole number"});
    expect_refused({"plan", kDemo, "--json", ""}, {"--json: must not be empty"});
    expect_refused({"plan", ""}, {"MODEL: must not be empty"});
    expect_refused({"plan", "--tp", "2"}, {"command line: MODEL: must be given"});
    expect_refused({"plan", kDemo, "--summary=3"}, {"--summary=3: takes no value"});
}

TEST(CommandLine, TakesWhatFollowsTwoDashesAsAnArgument) {
    EXPECT_EQ(run_command_line({"plan", "--", kDemo}).code, 0);
    expect_refused({"plan", "--", "--tp"}, {"--tp/config.json"});
}

TEST(CommandLine, RefusesAModelThatIsNoDirectory) {
    const std::string file = kDemo + "/config.json";
    for (const std::vector<std::string>& args :
         {std::vector<std::string>{"plan", file}, {"check", file}, {"load", file, "--dry-run"}}) {
        expect_refused(args, {"config.json: MODEL: must be a directory"});
    }
}

TEST(CommandLine, ShowsQuotesAsTheyWereTyped) {
    expect_refused({"plan", kDemo, "--params", "a\"b"}, {"--params=a\"b: matches"});
    expect_refused({"plan", kDemo, "--tp", "\"2\""}, {"--tp=\"2\": must be"});
    expect_refused({"plan", kDemo, "--tp", std::string(500, 'x')}, {"--tp=xxx", "xxx...: must be a whole number"});
}

TEST(CommandLine, ShowsControlCharactersEscaped) {
    expect_refused({"plan", "a\nb\x1b[31m"}, {"a\\nb\\x1b[31m/config.json"});
    expect_refused({"plan", kDemo, "--r\nx"}, {"--r\\nx: no such option"});
}

// A note beside a refusal would be a second line.
TEST(CommandLine, RefusesInOneLineWhereThereWouldBeANote) {
    expect_refused({"plan", kDemo, "--vllm-data-parallel-size", "4", "--rank", "4"}, {"--rank=4"});
    expect_refused({"plan", kDemo, "--vllm-data-parallel-size", "4", "--world", "8"}, {"--world=8"});
    expect_refused({"plan", kDemo, "--pp", "2"}, {"--pp=2"});
}

TEST(CommandLine, RefusesDegreesThatDoNotDivide) {
    expect_refused({"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "3"}, {"ep", "3"});
    expect_refused({"plan", kDemo, "--dp-shard", "-1"}, {"world"});
    expect_refused({"plan", kDemo, "--rules", "no-such-rules"}, {"no-such-rules", "titan-infer"});
}

TEST(CommandLine, RefusesVllmWordsBesideOurs) {
    expect_refused({"plan", kDemo, "--vllm-data-parallel-size", "2", "--tp", "2"}, {"--tp=2", "vLLM"});
    expect_refused({"plan", kDemo, "--vllm-tensor-parallel-size", "0"}, {"--vllm-tensor-parallel-size=0", ">= 1"});
}

TEST(CommandLine, TakesVllmWordsAndSaysHow) {
    const std::vector<std::string> ours{"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "8", "--json", "-"};
    const Printed printed =
        run_command_line({"plan", kDemo, "--vllm-data-parallel-size", "4", "--vllm-tensor-parallel-size", "2",
                          "--vllm-enable-expert-parallel", "--json", "-"});
    EXPECT_EQ(printed.code, 0);
    EXPECT_THAT(printed.err, HasSubstr("--dp-shard 4 --tp 2 --ep 8"));
    EXPECT_EQ(printed.out, run_command_line(ours).out);
}

TEST(CommandLine, HelpNamesEveryOptionOfTheContract) {
    const Printed printed = run_command_line({"load", "--help"});
    EXPECT_EQ(printed.code, 0);
    for (const char* option :
         {"--dp-replicate", "--dp-shard", "--cp", "--tp", "--pp", "--ep", "--world", "--no-sp", "--rules",
          "--vllm-data-parallel-size", "--layers", "--out", "--dry-run", "--against", "--json"}) {
        EXPECT_THAT(printed.out, HasSubstr(option));
    }
}

TEST(CommandLine, RefusesAJsonFileThatCannotBeWritten) {
    const TemporaryFolder folder;
    expect_refused({"plan", kDemo, "--json", folder / "no/such/folder.json"}, {"--json", "must be writable"});
    expect_refused({"plan", kDemo, "--json", folder / "."}, {"--json", "is a directory"});
    EXPECT_TRUE(folder.is_empty());
}

TEST(CommandLine, RefusesAJsonFileWhereTheSystemTakesNone) {
    if (!std::filesystem::exists("/proc/self")) GTEST_SKIP() << "no /proc";
    expect_refused({"plan", kDemo, "--json", "/proc/plan.json"}, {"/proc/plan.json: --json: must be writable"});
}

TEST(CommandLine, WritesJsonWhereALinkLeadsAndLeavesTheLink) {
    namespace fs = std::filesystem;
    const TemporaryFolder folder;
    write_text(folder / "target", "old");
    fs::create_symlink("target", fs::path{folder / "link"});
    EXPECT_EQ(run_command_line({"plan", kDemo, "--summary", "--json", folder / "link"}).code, 0);
    EXPECT_TRUE(fs::is_symlink(folder / "link"));
    EXPECT_EQ(fs::file_size(folder / "target") > 100, true);
    fs::create_symlink("circle", fs::path{folder / "circle"});
    const Printed circle = run_command_line({"plan", kDemo, "--summary", "--json", folder / "circle"});
    EXPECT_EQ(circle.code, 2);
    EXPECT_THAT(circle.err, HasSubstr("its links lead nowhere"));
    EXPECT_TRUE(fs::is_symlink(folder / "circle"));
}

// As --json /dev/stdout is: a rename would reach no reader, and for root it would put a file in the place of the link.
TEST(CommandLine, WritesJsonIntoAFileThatIsOpenAlready) {
    const TemporaryFolder folder;
    const int file = ::open((folder / "open").c_str(), O_RDWR | O_CREAT, 0600);
    ASSERT_GE(file, 0);
    const std::filesystem::path link = std::filesystem::path{folder / "stdout"};
    std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(file), link);
    EXPECT_EQ(run_command_line({"plan", kDemo, "--summary", "--json", link.string()}).code, 0);
    EXPECT_TRUE(std::filesystem::is_symlink(link));
    char first = 0;
    EXPECT_EQ(::pread(file, &first, 1, 0), 1);
    EXPECT_EQ(first, '{');
    ::close(file);
}

TEST(CommandLine, WritesNoJsonFileWhenInputIsBad) {
    const TemporaryFolder folder;
    expect_refused({"plan", kDemo, "--tp", "3", "--json", folder / "plan.json"}, {"3"});
    expect_refused({"inspect", folder / "absent", "--json", folder / "plan.json"}, {"absent"});
    EXPECT_TRUE(folder.is_empty());
}

}  // namespace
}  // namespace shardproof::reports
