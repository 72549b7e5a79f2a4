#include "gpu/kernels/dispatch.cuh"

#include <numeric>

#include "gpu/gpu_test_support.hpp"
#include "oracle/model/error.hpp"
#include "sim/plan/dispatch_plan.hpp"

namespace shardproof::gpu {
namespace {

using Ints = std::vector<std::int32_t>;

Ints narrowed(const std::vector<std::int64_t>& wide) { return {wide.begin(), wide.end()}; }

// Experts in any order, dealt to peers in uneven runs, some of them empty.
ExpertMap random_map(std::int64_t num_experts, std::mt19937_64& prng) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(num_experts));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), prng);
    ExpertMap map;
    map.num_peers = 1 + static_cast<std::int64_t>(prng() % 9);
    map.home.resize(order.size());
    map.held.resize(static_cast<std::size_t>(map.num_peers));
    std::vector<std::size_t> peers;
    for (std::size_t i = 0; i < order.size(); ++i) peers.push_back(prng() % map.held.size());
    std::sort(peers.begin(), peers.end());
    for (std::size_t i = 0; i < order.size(); ++i) {
        auto& held = map.held[peers[i]];
        map.home[static_cast<std::size_t>(order[i])] = {static_cast<std::int64_t>(peers[i]),
                                                        LocalExpert{std::ssize(held)}};
        held.emplace_back(order[i]);
    }
    return map;
}

// Position -> expert.
Ints experts_in_order(const ExpertMap& map) {
    Ints order;
    for (const auto& held : map.held) {
        for (const ExpertId e : held) order.push_back(static_cast<std::int32_t>(e.value()));
    }
    return order;
}

void expect_plan(const ExpertMap& map, const Ints& ids, std::int64_t top_k) {
    const Stream stream;
    const Ints order = experts_in_order(map);
    Ints place(order.size());
    for (std::size_t p = 0; p < order.size(); ++p) {
        place[static_cast<std::size_t>(order[p])] = static_cast<std::int32_t>(p);
    }
    const std::int64_t num_choices = std::ssize(ids);
    const std::int64_t num_experts = std::ssize(order);
    const Guarded<std::int32_t> id{ids, stream.view()};
    const Guarded<std::int32_t> where{place, stream.view()};
    const Guarded<std::int32_t> rows_at{num_experts, stream.view()};
    const Guarded<std::int32_t> begin_at{num_experts + 1, stream.view()};
    const Guarded<std::int32_t> slot_choice{num_choices, stream.view()};
    const Guarded<std::int32_t> slot_of{num_choices, stream.view()};
    const Guarded<std::byte> scratch{dispatch_scratch_bytes(num_choices, num_experts), stream.view()};
    plan_dispatch_on_device(id.data(), num_choices, num_experts, where.data(), rows_at.data(), begin_at.data(),
                            slot_choice.data(), slot_of.data(), scratch.data(), stream.view());

    std::vector<ExpertId> chosen;
    for (const std::int32_t e : ids) chosen.emplace_back(e);
    const DispatchPlan want = plan_dispatch(map, chosen, top_k);
    Ints rows;
    Ints begin{0};
    for (const std::int32_t e : order) {
        rows.push_back(static_cast<std::int32_t>(want.rows_to_expert[static_cast<std::size_t>(e)]));
        begin.push_back(begin.back() + rows.back());
    }
    Ints choices;
    for (std::size_t s = 0; s < want.slot_token.size(); ++s) {
        choices.push_back(static_cast<std::int32_t>(want.slot_token[s] * top_k + want.slot_choice[s]));
    }
    expect_equal(rows_at.read(), rows);
    expect_equal(begin_at.read(), begin);
    expect_equal(slot_choice.read(), choices);
    expect_equal(slot_of.read(), narrowed(want.slot_of));
    (void)scratch.read();
}

struct Sizes {
    std::int64_t tokens;
    std::int64_t top_k;
    std::int64_t num_experts;
};
constexpr Sizes kSizes[] = {{0, 1, 1},     {0, 4, 5},     {1, 1, 1},        {31, 1, 3},      {1, 8, 128},
                            {32, 8, 33},   {257, 1, 512}, {512, 8, 128},    {1001, 7, 37},   {8192, 8, 128},
                            {77, 8, 3000}, {3, 5, 12288}, {37'500, 8, 512}, {300'000, 1, 1}, {131'077, 1, 64}};

TEST(Dispatch, PlansLikeThePureFunctionForRandomChoices) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{1};
    for (const Sizes& s : kSizes) {
        SCOPED_TRACE(testing::Message() << s.tokens << " tokens, top " << s.top_k << " of " << s.num_experts);
        Ints ids(static_cast<std::size_t>(s.tokens * s.top_k));
        for (std::int32_t& id : ids) id = static_cast<std::int32_t>(prng() % static_cast<unsigned>(s.num_experts));
        expect_plan(random_map(s.num_experts, prng), ids, s.top_k);
    }
}

TEST(Dispatch, PlansLikeThePureFunctionWhenAllGoToOneExpert) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{2};
    for (const Sizes& s : kSizes) {
        SCOPED_TRACE(testing::Message() << s.tokens << " tokens, top " << s.top_k << " of " << s.num_experts);
        const auto one = static_cast<std::int32_t>(prng() % static_cast<unsigned>(s.num_experts));
        expect_plan(random_map(s.num_experts, prng), Ints(static_cast<std::size_t>(s.tokens * s.top_k), one), s.top_k);
    }
}

TEST(Dispatch, PlansLikeThePureFunctionForRunsAndEmptyExperts) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{3};
    for (const Sizes& s : kSizes) {
        SCOPED_TRACE(testing::Message() << s.tokens << " tokens, top " << s.top_k << " of " << s.num_experts);
        Ints ids;
        while (std::ssize(ids) < s.tokens * s.top_k) {
            const auto even = static_cast<std::int32_t>(prng() % static_cast<unsigned>((s.num_experts + 1) / 2) * 2);
            ids.insert(ids.end(), 1 + prng() % 100, even);
        }
        ids.resize(static_cast<std::size_t>(s.tokens * s.top_k));
        expect_plan(random_map(s.num_experts, prng), ids, s.top_k);
    }
}

TEST(Dispatch, RefusesMoreExpertsThanSharedMemoryHolds) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    EXPECT_THROW(
        plan_dispatch_on_device(nullptr, 0, 12289, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, stream.view()),
        BugError);
}

void expect_arrival(const std::vector<std::int64_t>& counts, std::int64_t peers, std::int64_t locals,
                    std::int64_t spare) {
    const Stream stream;
    const ArrivalPlan want = plan_arrival(counts, peers, locals);
    Ints begin{0};
    for (const std::int64_t rows : want.rows_of_expert) begin.push_back(begin.back() + static_cast<std::int32_t>(rows));
    Ints rows = narrowed(want.arrival_row);
    rows.resize(rows.size() + static_cast<std::size_t>(spare), -1);  // poison: not written
    const Guarded<std::int32_t> announced{narrowed(counts), stream.view()};
    const Guarded<std::int32_t> expert_begin{locals + 1, stream.view()};
    const Guarded<std::int32_t> arrival_row{std::ssize(rows), stream.view()};
    plan_arrival_on_device(announced.data(), peers, locals, expert_begin.data(), arrival_row.data(), std::ssize(rows),
                           stream.view());
    expect_equal(expert_begin.read(), begin);
    expect_equal(arrival_row.read(), rows);
}

TEST(Dispatch, ArrivesLikeThePureFunction) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{4};
    struct Shape {
        std::int64_t peers;
        std::int64_t locals;
        std::uint64_t rows_max;
    };
    for (const auto& [peers, locals, rows_max] : {Shape{0, 0, 0},
                                                  {4, 0, 0},
                                                  {0, 4, 0},
                                                  {1, 1, 0},
                                                  {1, 1, 1000},
                                                  {1, 128, 900},
                                                  {8, 16, 1000},
                                                  {16, 1, 70},
                                                  {3, 7, 3},
                                                  {64, 64, 20},
                                                  {2, 300, 400},
                                                  {6, 1000, 40}}) {
        SCOPED_TRACE(testing::Message() << peers << " peers, " << locals << " experts, up to " << rows_max);
        for (const std::int64_t spare : {0, 100'000}) {
            std::vector<std::int64_t> counts(static_cast<std::size_t>(peers * locals));
            for (std::int64_t& count : counts) {
                count = prng() % 3 == 0 ? 0 : static_cast<std::int64_t>(prng() % (rows_max + 1));
            }
            expect_arrival(counts, peers, locals, spare);
        }
    }
}

TEST(Dispatch, ArrivesLikeThePureFunctionWhenAllRowsAreOnePeersForOneExpert) {
    SHARDPROOF_NEEDS_GPU();
    for (std::size_t cell = 0; cell < 32; ++cell) {
        std::vector<std::int64_t> counts(32, 0);
        counts[cell] = 300'001;
        expect_arrival(counts, 4, 8, 5);
    }
}

}  // namespace
}  // namespace shardproof::gpu
