#ifdef SHARDPROOF_HAS_GPU
// What a DeviceWorld says of itself: memory taken against the forecast, waits of the host against the dispatcher's
// word.
#include "gpu/device_world.hpp"

#include <gtest/gtest.h>

#include "gpu/memory_needed.hpp"
#include "props/device_test_support.hpp"
#include "props/gen/case.hpp"
#include "props/gen/tiny_model.hpp"
#include "sim/prng.hpp"

namespace shardproof::props {
namespace {

using gpu::DeviceWorld;
using gpu::MoeRank;

// Large enough that what is rounded up does not count.
Case case_of(const CaseLayout& layout) {
    Case c;
    c.model = {.hidden = 256,
               .layers = 1,
               .heads = layout.tp,
               .kv_heads = layout.tp,
               .head_dim = 2,
               .experts = 16,
               .top_k = 4,
               .moe_hidden = 64,
               .dense_hidden = 1,
               .vocab = 8,
               .dense_layers = {},
               .dtype = DType::F16,
               .seed = 3};
    c.layout = layout;
    return c;
}

struct Ran {
    std::int64_t bytes_taken = 0;
    std::int64_t bytes_forecast = 0;
    std::int64_t host_waits = 0;
};

// One layer of `rows` rows on each rank.
Ran run_once(const CaseLayout& layout, const std::string& transport, const std::string& dispatcher, std::int64_t rows) {
    const Case c = case_of(layout);
    const Model model = make_tiny_model(c);
    const Plan plan = make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
    gpu::Session session{{.transport = transport, .world = layout.world(), .deadline_s = 20}, {}};
    const std::int64_t before = gpu::DeviceBytes::bytes_in_use();
    DeviceWorld world{plan, model.checkpoint, session, {.dispatcher = dispatcher, .deadline_s = 20}};
    world.load(0);
    std::vector<MoeRank> ranks(static_cast<std::size_t>(layout.world()));
    const std::vector<std::int64_t> rows_of_rank(ranks.size(), rows);
    for (std::size_t r = 0; r < ranks.size(); ++r) {
        ranks[r].rank = Rank{static_cast<std::int64_t>(r)};
        ranks[r].hidden.cols = c.model.hidden;
        // The ranks of a tp group have the same rows.
        sim::Prng prng{r / static_cast<std::size_t>(layout.tp)};
        for (std::int64_t i = 0; i < rows * c.model.hidden; ++i)
            ranks[r].hidden.values.push_back(static_cast<float>(prng.below(3)) - 1.0F);
    }
    world.moe_layer(ranks, rows_of_rank);
    world.moe_layer(ranks, rows_of_rank);  // nothing is made any more
    Ran ran{.bytes_taken = gpu::DeviceBytes::bytes_in_use() - before,
            .bytes_forecast = 0,
            .host_waits = world.host_waits()};
    for (const MoeRank& rank : ranks)
        ran.bytes_forecast += gpu::layer_bytes(plan, 0, rank.rank, rows_of_rank, Arithmetic::bf16);
    return ran;
}

class DeviceWorlds : public testing::Test {
protected:
    void SetUp() override {
        if (gpu::find_machine().devices.empty()) GTEST_SKIP() << "no GPU: " << gpu::find_machine().why_none;
    }
};

TEST_F(DeviceWorlds, TakeWhatWasForecastAndNotMuchLess) {
    for (const CaseLayout& layout :
         {CaseLayout{.rules = "titan-infer", .dp_shard = 4, .ep = 4}, CaseLayout{.rules = "titan-infer", .tp = 4},
          CaseLayout{.rules = "titan-infer", .dp_shard = 2, .tp = 2, .ep = 4},
          CaseLayout{.rules = "titan-train", .dp_shard = 4, .ep = 2},
          CaseLayout{.rules = "titan-train", .dp_shard = 2, .tp = 2, .ep = 1, .sequence_parallel = true}}) {
        const Ran ran = run_once(layout, "loopback", "send-receive", 500);
        SCOPED_TRACE(testing::Message() << layout.rules << " dp_shard " << layout.dp_shard << " tp " << layout.tp
                                        << " ep " << layout.ep);
        EXPECT_LE(ran.bytes_taken, ran.bytes_forecast + ran.bytes_forecast / 50);
        EXPECT_GE(ran.bytes_taken, ran.bytes_forecast / 2);
    }
}

TEST_F(DeviceWorlds, WaitForTheDevicesAsOftenAsTheDispatcherSays) {
    const CaseLayout layout{.rules = "titan-infer", .dp_shard = 4, .ep = 4};
    for (const gpu::DispatcherRow& row : gpu::dispatchers()) {
        for (const char* transport : {"loopback", "nccl"}) {
            SCOPED_TRACE(testing::Message() << row.name << " over " << transport);
            if (const auto missing = why_no_ranks(transport, std::string{row.name}, layout.world())) {
                GTEST_LOG_(INFO) << "not tried: " << *missing;
                continue;
            }
            EXPECT_EQ(run_once(layout, transport, std::string{row.name}, 20).host_waits, row.host_waits);
        }
    }
}

}  // namespace
}  // namespace shardproof::props
#endif
