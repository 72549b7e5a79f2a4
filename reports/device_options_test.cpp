// What the answers of runs on devices have beside the contract's keys.
#include "reports/device_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "props/four_ranks.hpp"
#include "props/gen/tiny_model.hpp"
#include "reports/command_runner.hpp"
#include "reports/fuzz_answer.hpp"
#include "reports/verdict_json.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;

const DevicesUsed kOverNccl{.facts = {.gpu = "NVIDIA H200",
                                      .transport = "nccl",
                                      .nccl = "2.32.3",
                                      .cuda_driver = "13.0",
                                      .cuda_runtime = "13.0",
                                      .note = ""},
                            .dispatcher = "windows",
                            .grouped_gemm = "cutlass"};
const DevicesUsed kWithout{.facts = {.gpu = "NVIDIA H200",
                                     .transport = "loopback",
                                     .nccl = std::nullopt,
                                     .cuda_driver = "13.1",
                                     .cuda_runtime = "13.0",
                                     .note = "NCCL cannot be opened"},
                           .dispatcher = "",
                           .grouped_gemm = ""};

json devices_of(const DevicesUsed& used) {
    std::ostringstream out;
    JsonWriter writer{out};
    writer.begin_object();
    write_devices(used, writer);
    writer.end_object();
    return json::parse(out.str())["devices"];
}

TEST(DevicesAnswer, TellsWhatRan) {
    EXPECT_EQ(devices_of(kOverNccl), json::parse(R"({"gpu": "NVIDIA H200", "transport": "nccl", "nccl": "2.32.3",
        "dispatcher": "windows", "grouped_gemm": "cutlass", "cuda_driver": "13.0", "cuda_runtime": "13.0",
        "note": null})"));
    EXPECT_EQ(devices_of(kWithout), json::parse(R"({"gpu": "NVIDIA H200", "transport": "loopback", "nccl": null,
        "dispatcher": null, "grouped_gemm": null, "cuda_driver": "13.1", "cuda_runtime": "13.0",
        "note": "NCCL cannot be opened"})"));
}

TEST(DevicesAnswer, StandsInThatOfCheckWithTheSeed) {
    const props::Case c = props::four_ranks();
    const Model model = props::make_tiny_model(c);
    const Plan plan = make_plan(model, props::dims_of(c.layout), rule_set_named(c.layout.rules));
    const auto answer = [&](const std::optional<OnDevices>& devices) {
        std::ostringstream out;
        JsonWriter writer{out};
        write_check({}, plan, "gpu", "shardproof check", devices, writer);
        return json::parse(out.str());
    };
    const json with = answer(OnDevices{.used = kOverNccl, .seed = 7});
    EXPECT_EQ(with["seed"], 7);
    EXPECT_EQ(with["devices"], devices_of(kOverNccl));
    EXPECT_EQ(with["replay"], "shardproof check");
    EXPECT_FALSE(answer(std::nullopt).contains("devices"));
    EXPECT_FALSE(answer(std::nullopt).contains("seed"));
}

TEST(DevicesAnswer, StandsInThatOfFuzzWithTheLawsLeftOut) {
    props::FuzzReport report;
    report.skipped_laws["gpu.windows.layer"] = "NCCL 2.30.4 was found";
    report.failures.push_back({.law = "gpu.send-receive.layer", .original = "ep=4", .shrunk = "ep=2", .message = "m"});
    const auto answer = [&](const std::optional<DevicesUsed>& devices) {
        std::ostringstream out;
        JsonWriter writer{out};
        write_fuzz(report, "shardproof fuzz --backend gpu --replay", devices, writer);
        return json::parse(out.str());
    };
    const json with = answer(kWithout);
    EXPECT_EQ(with["skipped_laws"], json::parse(R"({"gpu.windows.layer": "NCCL 2.30.4 was found"})"));
    EXPECT_EQ(with["devices"], devices_of(kWithout));
    EXPECT_EQ(with["failures"][0]["replay"], "shardproof fuzz --backend gpu --replay ep=2");
    EXPECT_FALSE(answer(std::nullopt).contains("skipped_laws"));
}

TEST(DeviceOptions, OfFuzzWaitLessThanThoseOfCheck) {
    EXPECT_EQ(deadline_of({}), 60);
    EXPECT_EQ(shardproof::reports::devices_of(DeviceOptions{}, 4, kDeadlineOfFuzz_s).deadline_s, 20);
    EXPECT_EQ(deadline_of({.transport = "", .dispatcher = "", .grouped_gemm = "", .deadline = "3"}, kDeadlineOfFuzz_s),
              3);
}

TEST(DeviceOptions, AreHelpedWithWhatTheCommandItselfDoesWithoutThem) {
    using testing::HasSubstr;
    using testing::Not;
    const std::string fuzz = run_command_line({"fuzz", "--help"}).out;
    EXPECT_THAT(fuzz, HasSubstr("(the laws of both)"));
    EXPECT_THAT(fuzz, Not(HasSubstr("(send-receive)")));
    const std::string check = run_command_line({"check", "--help"}).out;
    EXPECT_THAT(check, HasSubstr("(send-receive)"));
    EXPECT_THAT(check, HasSubstr("on virtual ranks or GPUs"));
    for (const std::string& help : {fuzz, check}) EXPECT_THAT(help, Not(HasSubstr("no wait")));
}

}  // namespace
}  // namespace shardproof::reports
