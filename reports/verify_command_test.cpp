#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";
const std::vector<std::string> kLayout{"--dp-shard", "2", "--tp", "2", "--ep", "4"};

Printed on_demo(const std::string& command, const std::vector<std::string>& args,
                const std::vector<std::string>& layout = kLayout) {
    std::vector<std::string> all{command, kDemo};
    all.insert(all.end(), layout.begin(), layout.end());
    all.insert(all.end(), args.begin(), args.end());
    return run_command_line(all);
}

// What `load` writes, for a test to spoil.
class Dump {
public:
    explicit Dump(const std::vector<std::string>& layout = kLayout) {
        const Printed loaded = on_demo("load", {"--out", path()}, layout);
        EXPECT_EQ(loaded.code, 0) << loaded.err;
    }
    [[nodiscard]] std::string path() const { return folder_ / "dump"; }
    [[nodiscard]] std::string file(int rank) const {
        return path() + "/rank_0000" + std::to_string(rank) + ".safetensors";
    }
    // The file of `rank` with tensors as `change` leaves them.
    template <class Change>
    void rewrite(int rank, const Change& change) const {
        std::map<std::string, Tensor> tensors;
        {
            const SafetensorsFile opened(map_file(file(rank), file(rank)));
            for (const SafetensorsEntry& entry : opened.header().entries) {
                const TensorView view = opened.view(entry);
                tensors[entry.name] = {view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
            }
        }
        change(tensors);
        std::vector<std::pair<std::string, TensorView>> views;
        for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
        fs::remove(file(rank));
        write_safetensors(file(rank), views);
    }
    [[nodiscard]] Printed verify(const std::vector<std::string>& args = {},
                                 const std::vector<std::string>& layout = kLayout) const {
        std::vector<std::string> all{"--shards", path()};
        all.insert(all.end(), args.begin(), args.end());
        return on_demo("verify", all, layout);
    }

private:
    TemporaryFolder folder_;
};

TEST(VerifyCommand, PassesWhatLoadWrites) {
    const Dump dump;
    const Printed printed = dump.verify();
    EXPECT_EQ(printed.code, 0) << printed.out << printed.err;
    EXPECT_THAT(printed.out, HasSubstr("ok: 0 differences"));
    const json answer = json::parse(dump.verify({"--json", "-"}).out);
    EXPECT_TRUE(answer["ok"].get<bool>());
    EXPECT_TRUE(answer["cause"].is_null());
    EXPECT_TRUE(answer["differences"].empty());
}

TEST(VerifyCommand, NamesWhatIsThereInstead) {
    const Dump dump;
    std::map<std::string, Tensor> other;
    dump.rewrite(2, [&](auto& tensors) { other = tensors; });
    const std::string w1 = "layers.1.moe.experts.w1";
    dump.rewrite(3, [&](auto& tensors) { tensors[w1] = other[w1]; });
    const Printed printed = dump.verify();
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, HasSubstr("rank 3: " + w1 +
                                       ": wrong-expert\n    expected experts 12..15\n"
                                       "    found    experts 8..11 (rank 2's shard)\n"));
    const json answer = json::parse(dump.verify({"--json", "-"}).out);
    EXPECT_FALSE(answer["ok"].get<bool>());
    ASSERT_EQ(answer["differences"].size(), 1U);
    const json& difference = answer["differences"][0];
    EXPECT_EQ(difference["rank"], 3);
    EXPECT_EQ(difference["param"], w1);
    EXPECT_EQ(difference["kind"], "wrong-expert");
    EXPECT_EQ(difference["found_experts"], json({8, 9, 10, 11}));
    EXPECT_EQ(difference["found_rank"], 2);
    EXPECT_EQ(difference["first"], json({12, 0, 0}));
    EXPECT_GT(difference["count"].get<int>(), 4 * 40 * 64 * 9 / 10);
    EXPECT_TRUE(difference["also"].empty());
}

TEST(VerifyCommand, NamesTheCommonCause) {
    const Dump dump;
    std::map<std::string, Tensor> first;
    dump.rewrite(0, [&](auto& tensors) { first = tensors; });
    for (const int rank : {1, 2, 3}) {
        dump.rewrite(rank, [&](auto& tensors) {
            for (auto& [name, tensor] : tensors) {
                if (name.find("moe.experts") != std::string::npos) tensor = first[name];
            }
        });
    }
    const Printed printed = dump.verify();
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, HasSubstr("cause: every ep rank loaded the first E/ep experts\n"));
}

TEST(VerifyCommand, TakesLayersPlacementsAndNames) {
    const Dump dump;
    EXPECT_EQ(dump.verify({"--layers", "1"}).code, 0);
    EXPECT_EQ(dump.verify({"--names", "titan"}).code, 0);
    EXPECT_EQ(dump.verify({"--names", "vllm"}).code, 1);
    const TemporaryFolder folder;
    const std::string placements = folder / "placements.json";
    ASSERT_EQ(on_demo("plan", {"--json", placements}).code, 0);
    const std::vector<std::string> by_file{"--placements", placements};
    EXPECT_EQ(dump.verify({}, by_file).code, 0) << dump.verify({}, by_file).err;
    EXPECT_EQ(dump.verify({}, {"--dp-shard", "4"}).code, 1);
}

TEST(VerifyCommand, RefusesAnotherNumberOfRankFiles) {
    const Dump dump;
    const Printed many = dump.verify({}, {"--tp", "2"});
    EXPECT_EQ(many.code, 2);
    EXPECT_THAT(many.err, HasSubstr("--shards=rank_00002.safetensors: must hold the files of ranks 0 .. 1"));
    fs::remove(dump.file(1));
    const Printed few = dump.verify();
    EXPECT_EQ(few.code, 2);
    EXPECT_THAT(few.err, HasSubstr("--shards=rank_00001.safetensors: must be there"));
    EXPECT_EQ(std::ranges::count(few.err, '\n'), 1);
    write_text(dump.file(1), "not a rank's shards");
    EXPECT_EQ(dump.verify().code, 2);
    const Printed none = on_demo("verify", {"--shards", dump.path() + "/none"});
    EXPECT_EQ(none.code, 2);
    EXPECT_THAT(none.err, HasSubstr("must be a folder"));
    EXPECT_EQ(on_demo("verify", {}).code, 2);
    const Printed names = dump.verify({"--names", "other"});
    EXPECT_EQ(names.code, 2);
    EXPECT_THAT(names.err, HasSubstr("--names=other: must be one of auto, titan, hf, vllm"));
}

}  // namespace
}  // namespace shardproof::reports
