#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "reports/command_runner.hpp"
#include "reports/demo.hpp"

namespace shardproof::reports {
namespace {

using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

TEST(DemoCommand, ShowsAModelThatHoldsAndAFaultThatIsFound) {
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(show_demo(kDemo, Console{out, err}), 0) << err.str();
    EXPECT_EQ(err.str(), "");
    const std::string text = out.str();
    const std::size_t holds = text.find("verdict  holds");
    const std::size_t failed = text.find("verdict  FAILED at layers.1.moe, rank ");
    ASSERT_NE(holds, std::string::npos) << text;
    ASSERT_NE(failed, std::string::npos) << text;
    EXPECT_LT(holds, failed);
    EXPECT_THAT(text, HasSubstr("$ shardproof plan " + kDemo + " --dp-shard 4 --tp 2 --ep 8 --summary"));
    EXPECT_THAT(text, HasSubstr("bound"));
}

TEST(DemoCommand, StopsAtAModelThatIsNotThere) {
    const TemporaryFolder folder;
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(show_demo(folder / "absent", Console{out, err}), 2);
    EXPECT_THAT(err.str(), HasSubstr("absent"));
    EXPECT_THAT(out.str(), testing::Not(HasSubstr("2. Check")));
}

// The program finds the checkpoint from where it lies, build/bin in the repository; a build elsewhere says so.
TEST(DemoCommand, FindsItsCheckpointOrSaysWhereItLooked) {
    const Printed printed = run_command_line({"demo"});
    if (printed.code == 0) {
        EXPECT_THAT(printed.out, HasSubstr("golden/demo"));
    } else {
        EXPECT_EQ(printed.code, 3);
        EXPECT_THAT(printed.err, HasSubstr("oracle/golden/demo: run the demo from the repository"));
    }
}

TEST(DemoCommand, TakesNoOptions) {
    const Printed printed = run_command_line({"demo", "--tp", "2"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr("--tp: no such option or argument of 'demo'"));
}

}  // namespace
}  // namespace shardproof::reports
