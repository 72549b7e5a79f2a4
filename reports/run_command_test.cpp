#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"
#include "reports/token_files.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kGoldens = SHARDPROOF_SOURCE_DIR "/oracle/golden/";
const std::string kDemo = kGoldens + "demo";

struct Errors {
    double largest = 0;
    double mean = 0;
};

// As shares of the largest golden logit.
Errors errors_of(const std::string& golden_file, const Tensor& logits) {
    const std::vector<double> want = values_of(tensor_of(golden_file, "logits"));
    const std::vector<double> got = values_of(logits);
    EXPECT_EQ(got.size(), want.size());
    double scale = 0;
    Errors errors;
    for (std::size_t i = 0; i < want.size(); ++i) {
        const double error = std::abs(got[i] - want[i]);
        scale = std::max(scale, std::abs(want[i]));
        if (!(error <= errors.largest)) errors.largest = error;  // NaN too
        errors.mean += error / static_cast<double>(want.size());
    }
    return {errors.largest / scale, errors.mean / scale};
}

// Exit `code`, one line with all of `texts`, and nothing written into `folder`'s "out".
void expect_refused(const std::vector<std::string>& args, int code, const std::vector<std::string>& texts,
                    const std::string& out) {
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, code) << printed.err;
    EXPECT_EQ(printed.out, "");
    EXPECT_EQ(std::ranges::count(printed.err, '\n'), 1) << printed.err;
    for (const std::string& text : texts) EXPECT_THAT(printed.err, HasSubstr(text));
    EXPECT_FALSE(std::filesystem::exists(out));
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, OracleGivesThePublicLogitsInDoublePrecision) {
    TemporaryFolder folder;
    const std::string model = kGoldens + GetParam();
    const Printed printed = run_command_line({"run", model, "--backend", "oracle", "--input-ids",
                                              model + "/golden.safetensors", "--out", folder / "logits"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const Tensor logits = tensor_of(folder / "logits", "logits");
    EXPECT_EQ(logits.dtype, DType::F64);
    EXPECT_LE(errors_of(model + "/golden.safetensors", logits).largest, 1e-10);
}

TEST_P(Golden, ShardedRanksGiveThePublicLogitsInSinglePrecision) {
    TemporaryFolder folder;
    const std::string model = kGoldens + GetParam();
    const Printed printed =
        run_command_line({"run", model, "--backend", "sim", "--dp-shard", "2", "--tp", "2", "--ep", "4", "--input-ids",
                          model + "/golden.safetensors", "--out", folder / "logits"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const Tensor logits = tensor_of(folder / "logits", "logits");
    EXPECT_EQ(logits.dtype, DType::F32);
    EXPECT_LE(errors_of(model + "/golden.safetensors", logits).largest, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, Golden,
                         testing::Values("demo", "dynamic", "llama3-tied", "plain", "sparse-step", "tied-dense",
                                         "yarn-attention", "yarn-full", "yarn-published"),
                         [](const testing::TestParamInfo<const char*>& row) {
                             std::string name{row.param};
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

TEST(RunCommand, AnswersInJsonAlone) {
    TemporaryFolder folder;
    const Printed printed =
        run_command_line({"run", kDemo, "--backend", "sim", "--dtype", "bf16", "--input-ids",
                          kDemo + "/golden.safetensors", "--out", folder / "logits", "--json", "-"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    EXPECT_EQ(printed.err, "");
    const json answer = json::parse(printed.out);
    EXPECT_TRUE(answer["ok"].get<bool>());
    EXPECT_EQ(answer["shape"], json({2, 16, 259}));
    // bf16 has 8 bits: near the golden, and not so near as float32.
    const double error = errors_of(kDemo + "/golden.safetensors", tensor_of(folder / "logits", "logits")).mean;
    EXPECT_GT(error, 1e-4);
    EXPECT_LT(error, 0.05);
}

TEST(RunCommand, TakesBatchesThatDivideNothing) {
    struct Case {
        std::int64_t sequences, length;
    };
    for (const Case c : {Case{3, 5}, Case{1, 1}, Case{5, 3}, Case{0, 4}, Case{2, 0}}) {
        SCOPED_TRACE(testing::Message() << c.sequences << " sequences of " << c.length);
        TemporaryFolder folder;
        write_some_ids(folder / "ids", c.sequences, c.length);
        const auto logits_of = [&](const std::string& backend, const std::vector<std::string>& layout) {
            std::vector<std::string> args{"run",         kDemo,          "--backend", backend,
                                          "--input-ids", folder / "ids", "--out",     folder / backend};
            args.insert(args.end(), layout.begin(), layout.end());
            const Printed printed = run_command_line(args);
            EXPECT_EQ(printed.code, 0) << printed.err;
            return tensor_of(folder / backend, "logits");
        };
        const Tensor one = logits_of("oracle", {});
        const Tensor eight = logits_of("sim", {"--dp-shard", "4", "--tp", "2", "--ep", "8"});
        EXPECT_EQ(one.shape, (Shape{c.sequences, c.length, 259}));
        EXPECT_EQ(eight.shape, one.shape);
        const std::vector<double> want = values_of(one);
        const std::vector<double> got = values_of(eight);
        for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-3);
    }
}

TEST(RunCommand, ReplacesNoFileOfTheModel) {
    TemporaryFolder folder;
    const std::string model = folder / "model";
    std::filesystem::copy(kGoldens + "plain", model);
    const auto run = [&](const std::string& out, const std::string& answer) {
        return run_command_line({"run", model, "--backend", "oracle", "--input-ids", model + "/golden.safetensors",
                                 "--out", out, "--json", answer});
    };
    const Printed weights = run(model + "/model.safetensors", "-");
    EXPECT_EQ(weights.code, 2);
    EXPECT_THAT(weights.err, HasSubstr("must not replace a file of the model"));
    const Printed config = run(folder / "logits", model + "/config.json");
    EXPECT_EQ(config.code, 2);
    EXPECT_THAT(config.err, HasSubstr("must not replace a file of the model"));
    EXPECT_EQ(run(folder / "logits", folder / "logits").code, 2);
    EXPECT_EQ(run(model + "/logits", "-").code, 0);
}

TEST(RunCommand, CutsToTheFirstLayers) {
    TemporaryFolder folder;
    const auto run_layers = [&](const std::string& layers) {
        const Printed printed =
            run_command_line({"run", kDemo, "--backend", "oracle", "--layers", layers, "--input-ids",
                              kDemo + "/golden.safetensors", "--out", folder / layers});
        EXPECT_EQ(printed.code, 0) << printed.err;
        return tensor_of(folder / layers, "logits").bytes;
    };
    EXPECT_NE(run_layers("1"), run_layers("2"));
    expect_refused({"run", kDemo, "--backend", "oracle", "--layers", "4", "--input-ids", kDemo + "/golden.safetensors",
                    "--out", folder / "out"},
                   2, {"4", "3"}, folder / "out");
    expect_refused({"run", kDemo, "--backend", "oracle", "--layers", "0", "--input-ids", kDemo + "/golden.safetensors",
                    "--out", folder / "out"},
                   2, {"0", "1"}, folder / "out");
}

class RefusedIds : public testing::Test {
protected:
    void expect(const std::vector<std::string>& texts) {
        for (const char* backend : {"oracle", "sim"}) {
            expect_refused({"run", kDemo, "--backend", backend, "--input-ids", ids(), "--out", folder_ / "out"}, 2,
                           texts, folder_ / "out");
        }
        expect_refused({"check", kDemo, "--input-ids", ids(), "--json", folder_ / "out"}, 2, texts, folder_ / "out");
    }
    [[nodiscard]] std::string ids() const { return folder_ / "ids.safetensors"; }

private:
    TemporaryFolder folder_;
};

TEST_F(RefusedIds, OutOfRange) {
    write_ids(ids(), {0, 258, 259, 1}, {2, 2});
    expect({"ids.safetensors", "input_ids[1,0]=259", "vocab_size=259"});
    write_ids(ids(), {0, -1}, {1, 2});
    expect({"input_ids[0,1]=-1"});
}

TEST_F(RefusedIds, OfAnotherDtype) {
    const std::vector<float> floats{1, 2};
    write_safetensors(ids(), {{"input_ids", TensorView{DType::F32, {1, 2}, std::as_bytes(std::span{floats})}}});
    expect({"input_ids.dtype=F32", "must be an integer"});
}

TEST_F(RefusedIds, OfAnotherRank) {
    write_ids(ids(), {1, 2}, {2});
    expect({"input_ids.shape=[2]"});
    write_ids(ids(), {1, 2}, {1, 1, 2});
    expect({"input_ids.shape=[1,1,2]"});
}

TEST_F(RefusedIds, ThatAreNotThere) {
    write_ids(ids(), {1, 2}, {1, 2}, "tokens");
    expect({"ids.safetensors: input_ids", "missing"});
    std::filesystem::remove(ids());
    expect({"ids.safetensors"});
    write_text(ids(), "no safetensors");
    expect({"ids.safetensors"});
}

TEST(RunCommand, RefusesAnOutputThatCannotBeWritten) {
    TemporaryFolder folder;
    const auto args = [&](const std::string& out) {
        return std::vector<std::string>{
            "run", kDemo, "--backend", "oracle", "--input-ids", kDemo + "/golden.safetensors", "--out", out};
    };
    const std::string absent = folder / "no/such/folder";
    expect_refused(args(absent), 2, {"no/such/folder", "--out", "must be writable"}, absent);
    expect_refused(args(""), 2, {"--out", "must not be empty"}, absent);
    EXPECT_THAT(run_command_line(args(folder / ".")).err, HasSubstr("is a directory"));
    EXPECT_EQ(run_command_line(args(folder / ".")).code, 2);
}

// 2^20 ranks would not fit, and the oracle has none.
TEST(RunCommand, HoldsNoRanksForTheOracleAndSaysThatALayoutMeansNothing) {
    TemporaryFolder folder;
    const Printed printed =
        run_command_line({"run", kDemo, "--backend", "oracle", "--rules", "titan-train", "--dp-replicate", "1048576",
                          "--input-ids", kDemo + "/golden.safetensors", "--out", folder / "out"});
    EXPECT_EQ(printed.code, 0);
    EXPECT_EQ(printed.err, "note: the layout has no meaning with --backend oracle, which knows no ranks\n");
}

TEST(RunCommand, RefusesWhatTheBackendsLack) {
    TemporaryFolder folder;
    const std::string out = folder / "out";
    const auto args = [&](const std::vector<std::string>& more) {
        std::vector<std::string> all{"run", kDemo, "--input-ids", kDemo + "/golden.safetensors", "--out", out};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    expect_refused(args({}), 2, {"--backend: must be given"}, out);
    expect_refused(args({"--backend", "cpu"}), 2, {"--backend=cpu", "oracle, sim or gpu"}, out);
    expect_refused(args({"--backend", "gpu"}), 3, {"MoE layers", "--backend sim"}, out);
    // Bad input first: what is wrong with it holds for every backend.
    expect_refused(args({"--backend", "gpu", "--cp", "2"}), 2, {"--cp=2", "must be 1"}, out);
    expect_refused(args({"--backend", "gpu", "--layers", "9"}), 2, {"9"}, out);
    expect_refused({"run", kDemo, "--backend", "gpu", "--input-ids", kDemo + "/absent", "--out", out}, 2, {"absent"},
                   out);
    expect_refused(
        {"run", folder / "absent", "--backend", "gpu", "--input-ids", kDemo + "/golden.safetensors", "--out", out}, 2,
        {"absent"}, out);
    expect_refused(args({"--backend", "sim", "--dtype", "f16"}), 2, {"--dtype=f16", "f32 or bf16"}, out);
    expect_refused(args({"--backend", "oracle", "--dtype", "f32"}), 2,
                   {"--dtype=f32: has no meaning with --backend oracle"}, out);
    expect_refused(args({"--backend", "sim", "--cp", "2"}), 2, {"--cp=2", "must be 1"}, out);
    expect_refused(args({"--backend", "sim", "--pp", "2"}), 2, {"--pp=2", "must be 1"}, out);
}

}  // namespace
}  // namespace shardproof::reports
