#include "gpu/kernels/router.cuh"

#include <limits>
#include <numeric>

#include "gpu/gpu_test_support.hpp"

namespace shardproof::gpu {
namespace {

constexpr Arithmetic kBoth[] = {Arithmetic::f32, Arithmetic::bf16};

struct Shape {
    std::int64_t n;
    std::int64_t num_experts;
    std::int64_t depth;
};
// Full tiles and tails in all three directions, small tiles and large ones, widths that tensor cores do not take.
constexpr Shape kShapes[] = {{0, 8, 16},       {1, 1, 1},        {1, 128, 2048},  {5, 7, 20},
                             {3, 4, 0},        {16, 32, 128},    {17, 33, 136},   {64, 128, 64},
                             {130, 130, 200},  {700, 60, 72},    {65, 3, 63},     {129, 128, 2047},
                             {1500, 128, 520}, {1500, 128, 519}, {2101, 257, 64}, {8192, 128, 96}};

std::vector<float> logits_of(const Shape& s, Arithmetic arithmetic, const std::vector<float>& x,
                             const std::vector<float>& gate) {
    const Stream stream;
    const GuardedMatrix rows{s.n, s.depth, arithmetic, x, stream.view()};
    const GuardedMatrix experts{s.num_experts, s.depth, arithmetic, gate, stream.view()};
    const Guarded<float> logits{s.n * s.num_experts, stream.view()};
    router_logits(rows.view(), experts.view(), logits.data(), stream.view());
    return logits.read();
}

// The products' sums in double, and those of their absolute values.
void products(const Shape& s, const std::vector<float>& x, const std::vector<float>& gate, std::vector<double>& sums,
              std::vector<double>& magnitudes) {
    sums.assign(static_cast<std::size_t>(s.n * s.num_experts), 0);
    magnitudes = sums;
    for (std::int64_t t = 0; t < s.n; ++t) {
        for (std::int64_t e = 0; e < s.num_experts; ++e) {
            double sum = 0;
            double magnitude = 0;
            for (std::int64_t d = 0; d < s.depth; ++d) {
                const double product = static_cast<double>(x[static_cast<std::size_t>(t * s.depth + d)]) *
                                       gate[static_cast<std::size_t>(e * s.depth + d)];
                sum += product;
                magnitude += std::abs(product);
            }
            sums[static_cast<std::size_t>(t * s.num_experts + e)] = sum;
            magnitudes[static_cast<std::size_t>(t * s.num_experts + e)] = magnitude;
        }
    }
}

// Whole numbers whose sums f32 holds in any order: a product too many or too few shows.
TEST(Router, LogitsOfWholeNumbersAreExact) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{1};
    for (const Arithmetic arithmetic : kBoth) {
        for (const Shape& s : kShapes) {
            SCOPED_TRACE(testing::Message() << s.n << " x " << s.num_experts << " over " << s.depth);
            const std::vector<float> x = random_whole(s.n * s.depth, 15, prng);
            const std::vector<float> gate = random_whole(s.num_experts * s.depth, 15, prng);
            std::vector<double> sums;
            std::vector<double> magnitudes;
            products(s, x, gate, sums, magnitudes);
            expect_equal(logits_of(s, arithmetic, x, gate), std::vector<float>(sums.begin(), sums.end()));
        }
    }
}

// Each of D additions loses at most 2 units of the largest sum on its way: tensor cores cut instead of rounding.
TEST(Router, LogitsOfRealNumbersAreWithinTheBoundOfTheirLength) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{2};
    for (const Arithmetic arithmetic : kBoth) {
        for (const Shape& s : kShapes) {
            SCOPED_TRACE(testing::Message() << s.n << " x " << s.num_experts << " over " << s.depth);
            const std::vector<float> x = random_reals(s.n * s.depth, 3, arithmetic, prng);
            const std::vector<float> gate = random_reals(s.num_experts * s.depth, 1, arithmetic, prng);
            std::vector<double> sums;
            std::vector<double> bound;
            products(s, x, gate, sums, bound);
            const double units = arithmetic == Arithmetic::f32 ? 1 : 4;
            for (double& b : bound) b *= static_cast<double>(s.depth + 1) * units * kUnitF32;
            expect_within(logits_of(s, arithmetic, x, gate), sums, bound);
        }
    }
}

TEST(Router, EqualRowsOfTheGateGiveEqualBitsWhereverTheyStand) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{3};
    for (const Arithmetic arithmetic : kBoth) {
        for (const Shape& s : kShapes) {
            SCOPED_TRACE(testing::Message() << s.n << " x " << s.num_experts << " over " << s.depth);
            const std::vector<float> x = random_reals(s.n * s.depth, 3, arithmetic, prng);
            const std::vector<float> row = random_reals(s.depth, 1, arithmetic, prng);
            std::vector<float> gate;
            for (std::int64_t e = 0; e < s.num_experts; ++e) gate.insert(gate.end(), row.begin(), row.end());
            const std::vector<float> logits = logits_of(s, arithmetic, x, gate);
            std::vector<float> want = logits;
            for (std::size_t i = 0; i < want.size(); ++i)
                want[i] = logits[i - i % static_cast<std::size_t>(s.num_experts)];
            expect_equal(logits, want);
        }
    }
}

struct Chosen {
    std::vector<std::int32_t> ids;
    std::vector<float> weights;
};
Chosen chosen_of(const RouterSpec& router, const std::vector<float>& logits) {
    const Stream stream;
    const std::int64_t n = std::ssize(logits) / router.num_experts;
    const Guarded<float> scores{logits, stream.view()};
    const Guarded<std::int32_t> ids{n * router.top_k, stream.view()};
    const Guarded<float> weights{n * router.top_k, stream.view()};
    route_top_k(router, scores.data(), n, ids.data(), weights.data(), stream.view());
    expect_same(scores.read(), logits);
    return {ids.read(), weights.read()};
}

// By logits, ties to the lowest id.
std::vector<std::int32_t> best_of(std::span<const float> logits, std::int64_t top_k) {
    std::vector<std::int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(top_k));
    return order;
}

// The weights of those ids in double.
std::vector<double> weights_of(const RouterSpec& router, std::span<const float> logits,
                               std::span<const std::int32_t> ids) {
    const double largest = *std::ranges::max_element(logits);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    std::vector<double> weights;
    for (const std::int32_t id : ids) {
        const double logit = logits[static_cast<std::size_t>(id)];
        weights.push_back(router.score == ScoreFunction::softmax ? std::exp(logit - largest) / sum
                                                                 : 1 / (1 + std::exp(-logit)));
    }
    const double norm = router.norm_topk ? std::accumulate(weights.begin(), weights.end(), 0.0) : 1;
    for (double& weight : weights) weight *= router.scale / norm;
    return weights;
}

void expect_chosen(const RouterSpec& router, const std::vector<float>& logits) {
    const Chosen got = chosen_of(router, logits);
    std::vector<std::int32_t> ids;
    std::vector<double> weights;
    const auto row_size = static_cast<std::size_t>(router.num_experts);
    for (std::size_t first = 0; first < logits.size(); first += row_size) {
        const std::span row = std::span{logits}.subspan(first, row_size);
        const std::vector<std::int32_t> best = best_of(row, router.top_k);
        const std::vector<double> their = weights_of(router, row, best);
        ids.insert(ids.end(), best.begin(), best.end());
        weights.insert(weights.end(), their.begin(), their.end());
    }
    // Sums of positive terms: E and K roundings; a logit's distance from the largest, up to 8, is off by half a unit of
    // it, which exp makes relative. Twice: of a weight and of the sum that it is divided by.
    std::vector<double> bound = weights;
    for (double& b : bound) b *= 2 * static_cast<double>(router.num_experts + router.top_k + 24) * kUnitF32;
    expect_equal(got.ids, ids);
    expect_within(got.weights, weights, bound);
}

std::vector<RouterSpec> routers() {
    std::vector<RouterSpec> all;
    constexpr std::pair<int, int> kSizes[] = {{1, 1},    {2, 2},    {8, 2},    {32, 32},     {33, 5},
                                              {64, 40},  {128, 8},  {129, 8},  {256, 4},     {512, 10},
                                              {700, 40}, {1024, 8}, {1025, 3}, {1030, 1030}, {4096, 8}};
    for (const auto& [num_experts, top_k] : kSizes) {
        for (const ScoreFunction score : {ScoreFunction::softmax, ScoreFunction::sigmoid}) {
            all.push_back({.num_experts = num_experts, .top_k = top_k, .score = score});
            all.push_back(
                {.num_experts = num_experts, .top_k = top_k, .score = score, .norm_topk = true, .scale = 2.5});
        }
    }
    return all;
}

// Logits in [-4, 4], so far apart that their scores are in f32 as well.
TEST(Router, ChoosesTheBestInOrder) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{4};
    for (const RouterSpec& router : routers()) {
        for (const int n : {0, 1, 8, 9, 37}) {
            SCOPED_TRACE(testing::Message() << n << " tokens, top " << router.top_k << " of " << router.num_experts);
            std::vector<float> steps(static_cast<std::size_t>(router.num_experts));
            std::iota(steps.begin(), steps.end(), 0.0F);
            std::vector<float> logits;
            for (int t = 0; t < n; ++t) {
                std::shuffle(steps.begin(), steps.end(), prng);
                for (const float step : steps) logits.push_back(step * 8 / static_cast<float>(router.num_experts) - 4);
            }
            expect_chosen(router, logits);
        }
    }
}

TEST(Router, TiesGoToTheLowestId) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{5};
    for (const RouterSpec& router : routers()) {
        SCOPED_TRACE(testing::Message() << "top " << router.top_k << " of " << router.num_experts);
        std::vector<float> logits = random_whole(20 * router.num_experts, 1, prng);
        std::fill_n(logits.begin(), router.num_experts, 0.25F);
        expect_chosen(router, logits);
    }
}

TEST(Router, ChoosesForManyTokens) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{6};
    const RouterSpec router{.num_experts = 128, .top_k = 8, .norm_topk = true};
    expect_chosen(router, random_whole(32'771 * 128, 4, prng));
}

TEST(Router, ScoresThatSaturateTie) {
    SHARDPROOF_NEEDS_GPU();
    const RouterSpec router{.num_experts = 4, .top_k = 3, .score = ScoreFunction::sigmoid};
    const Chosen got = chosen_of(router, {-200.0F, 40.0F, -300.0F, 50.0F});
    EXPECT_EQ(got.ids, (std::vector<std::int32_t>{1, 3, 0}));
    EXPECT_EQ(got.weights, (std::vector<float>{1.0F, 1.0F, 0.0F}));
}

TEST(Router, LargeLogitsDoNotOverflowTheSoftmax) {
    SHARDPROOF_NEEDS_GPU();
    const RouterSpec router{.num_experts = 3, .top_k = 2};
    const Chosen got = chosen_of(router, {3e38F, -3e38F, 3e38F});
    EXPECT_EQ(got.ids, (std::vector<std::int32_t>{0, 2}));
    EXPECT_EQ(got.weights, (std::vector<float>{0.5F, 0.5F}));
}

TEST(Router, NotANumberStillGivesDifferentExpertsInRange) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{7};
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const RouterSpec& router : routers()) {
        SCOPED_TRACE(testing::Message() << "top " << router.top_k << " of " << router.num_experts);
        std::vector<float> logits;
        for (const float strange : {kNan, -kNan, kInfinity, -kInfinity}) {
            std::vector<float> row = random_reals(router.num_experts, 4, Arithmetic::f32, prng);
            row[prng() % row.size()] = strange;
            logits.insert(logits.end(), row.begin(), row.end());
            logits.insert(logits.end(), row.size(), strange);
        }
        const Chosen got = chosen_of(router, logits);
        for (std::int64_t first = 0; first < std::ssize(got.ids); first += router.top_k) {
            std::vector<std::int32_t> ids{got.ids.begin() + first, got.ids.begin() + first + router.top_k};
            std::sort(ids.begin(), ids.end());
            EXPECT_TRUE(std::adjacent_find(ids.begin(), ids.end()) == ids.end()) << "an id twice";
            EXPECT_GE(ids.front(), 0);
            EXPECT_LT(ids.back(), router.num_experts);
        }
    }
}

TEST(Router, NotANumberStaysVisibleInTheWeights) {
    SHARDPROOF_NEEDS_GPU();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Chosen got = chosen_of({.num_experts = 3, .top_k = 2}, {1.0F, nan, 2.0F});
    EXPECT_TRUE(std::isnan(got.weights[0]) && std::isnan(got.weights[1]));
}

}  // namespace
}  // namespace shardproof::gpu
