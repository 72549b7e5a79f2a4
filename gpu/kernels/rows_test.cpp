#include "gpu/kernels/rows.cuh"

#include <numeric>

#include "gpu/gpu_test_support.hpp"

namespace shardproof::gpu {
namespace {

constexpr Arithmetic kBoth[] = {Arithmetic::f32, Arithmetic::bf16};
constexpr std::int64_t kWidths[] = {1, 3, 4, 6, 8, 20, 257, 2048};

std::vector<std::int32_t> random_indices(std::int64_t count, std::int64_t below, std::mt19937_64& prng) {
    std::vector<std::int32_t> indices(static_cast<std::size_t>(count));
    for (std::int32_t& index : indices) index = static_cast<std::int32_t>(prng() % static_cast<std::uint64_t>(below));
    return indices;
}

std::vector<std::int32_t> shuffled(std::int64_t count, std::mt19937_64& prng) {
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), prng);
    return order;
}

// Rows of `row_bytes`: to[target[r]] = from[source[r]], the rest of `to` poison.
std::vector<std::byte> moved(const std::vector<std::byte>& from, std::span<const std::int32_t> source,
                             std::span<const std::int32_t> target, std::int64_t to_rows, std::int64_t row_bytes) {
    std::vector<std::byte> to(static_cast<std::size_t>(to_rows * row_bytes), std::byte{0xFF});
    for (std::size_t r = 0; r < source.size(); ++r) {
        std::copy_n(from.begin() + source[r] * row_bytes, row_bytes, to.begin() + target[r] * row_bytes);
    }
    return to;
}

TEST(Rows, GatherSlotsCopiesEveryBit) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{1};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int64_t num_slots : {0, 1, 77}) {
                for (const std::int64_t top_k : {1, 3, 8}) {
                    SCOPED_TRACE(testing::Message() << num_slots << " x " << cols << ", top " << top_k);
                    const std::int64_t n = 11;
                    const std::int64_t row_bytes = cols * element_bytes(arithmetic);
                    const std::vector<std::byte> x = random_bytes(n * row_bytes, prng);
                    const std::vector<std::int32_t> choices = random_indices(num_slots, n * top_k, prng);
                    GuardedMatrix from{n, cols, arithmetic, stream.view()};
                    from.write(x);
                    const Guarded<std::int32_t> slot_choice{choices, stream.view()};
                    const GuardedMatrix to{80, cols, arithmetic, stream.view()};
                    gather_slots(from.view(), slot_choice.data(), num_slots, top_k, nullptr, to.view(), stream.view());
                    std::vector<std::int32_t> tokens = choices;
                    for (std::int32_t& token : tokens) token /= static_cast<std::int32_t>(top_k);
                    std::vector<std::int32_t> slots(choices.size());
                    std::iota(slots.begin(), slots.end(), 0);
                    expect_equal(to.read_bytes(), moved(x, tokens, slots, 80, row_bytes));
                }
            }
        }
    }
}

TEST(Rows, GatherSlotsMultipliesByTheChoicesWeightAndRoundsOnce) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{2};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            const std::int64_t n = 9;
            const std::int64_t top_k = 3;
            const std::int64_t num_slots = n * top_k;
            const std::vector<float> x = random_reals(n * cols, 4, arithmetic, prng);
            const std::vector<float> weights = random_reals(num_slots, 1, Arithmetic::f32, prng);
            const std::vector<std::int32_t> choices = shuffled(num_slots, prng);
            const GuardedMatrix from{n, cols, arithmetic, x, stream.view()};
            const Guarded<std::int32_t> slot_choice{choices, stream.view()};
            const Guarded<float> factors{weights, stream.view()};
            const GuardedMatrix to{num_slots, cols, arithmetic, stream.view()};
            gather_slots(from.view(), slot_choice.data(), num_slots, top_k, factors.data(), to.view(), stream.view());
            std::vector<float> want;
            for (const std::int32_t choice : choices) {
                for (std::int64_t c = 0; c < cols; ++c) {
                    const float value = x[static_cast<std::size_t>(choice / top_k * cols + c)];
                    want.push_back(settled(value * weights[static_cast<std::size_t>(choice)], arithmetic));
                }
            }
            expect_same(to.read(), want);
        }
    }
}

TEST(Rows, GatherAndScatterMoveTheDevicesCountOfRowsAndNoMore) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{3};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int32_t rows : {0, 1, 50, 64}) {
                SCOPED_TRACE(testing::Message() << rows << " x " << cols);
                const std::int64_t capacity = 64;
                const std::int64_t row_bytes = cols * element_bytes(arithmetic);
                const std::vector<std::byte> x = random_bytes(capacity * row_bytes, prng);
                const std::vector<std::int32_t> order = shuffled(capacity, prng);
                std::vector<std::int32_t> same(static_cast<std::size_t>(rows));
                std::iota(same.begin(), same.end(), 0);
                const std::span<const std::int32_t> used = std::span{order}.first(same.size());
                GuardedMatrix from{capacity, cols, arithmetic, stream.view()};
                from.write(x);
                const Guarded<std::int32_t> index{order, stream.view()};
                const Guarded<std::int32_t> count{std::span{&rows, 1}, stream.view()};
                const GuardedMatrix gathered{capacity, cols, arithmetic, stream.view()};
                gather_rows(from.view(), index.data(), count.data(), gathered.view(), stream.view());
                expect_equal(gathered.read_bytes(), moved(x, used, same, capacity, row_bytes));
                const GuardedMatrix scattered{capacity, cols, arithmetic, stream.view()};
                scatter_rows(from.view(), index.data(), count.data(), scattered.view(), stream.view());
                expect_equal(scattered.read_bytes(), moved(x, same, used, capacity, row_bytes));
            }
        }
    }
}

TEST(Rows, GatherOfManyRowsMissesNone) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{4};
    const std::int32_t rows = 50'021;  // more than one stride of the grid
    const std::int64_t cols = 72;
    const std::vector<std::byte> x = random_bytes(rows * cols * 2, prng);
    const std::vector<std::int32_t> order = shuffled(rows, prng);
    std::vector<std::int32_t> same(order.size());
    std::iota(same.begin(), same.end(), 0);
    GuardedMatrix from{rows, cols, Arithmetic::bf16, stream.view()};
    from.write(x);
    const Guarded<std::int32_t> index{order, stream.view()};
    const Guarded<std::int32_t> count{std::span{&rows, 1}, stream.view()};
    const GuardedMatrix to{rows, cols, Arithmetic::bf16, stream.view()};
    gather_rows(from.view(), index.data(), count.data(), to.view(), stream.view());
    expect_equal(to.read_bytes(), moved(x, order, same, rows, cols * 2));
}

struct Combine {
    std::int64_t n = 0;
    std::int64_t top_k = 0;
    std::int64_t cols = 0;
    Arithmetic arithmetic{};
    std::vector<float> returned;
    std::vector<std::int32_t> slot_of;
    std::vector<float> weights;  // empty: none

    [[nodiscard]] std::vector<float> run() const {
        const Stream stream;
        const GuardedMatrix from{n * top_k, cols, arithmetic, returned, stream.view()};
        const Guarded<std::int32_t> slots{slot_of, stream.view()};
        const Guarded<float> factors{weights, stream.view()};
        const GuardedMatrix out{n, cols, arithmetic, stream.view()};
        combine_slots(from.view(), slots.data(), weights.empty() ? nullptr : factors.data(), top_k, out.view(),
                      stream.view());
        return out.read();
    }
    // Terms of out[t, c], summed in double; `magnitudes` are their absolute values.
    void sum(std::vector<double>& sums, std::vector<double>& magnitudes) const {
        sums.assign(static_cast<std::size_t>(n * cols), 0);
        magnitudes = sums;
        for (std::int64_t choice = 0; choice < n * top_k; ++choice) {
            const double weight = weights.empty() ? 1 : weights[static_cast<std::size_t>(choice)];
            const float* row = returned.data() + slot_of[static_cast<std::size_t>(choice)] * cols;
            for (std::int64_t c = 0; c < cols; ++c) {
                const auto at = static_cast<std::size_t>(choice / top_k * cols + c);
                sums[at] += weight * row[c];
                magnitudes[at] += std::abs(weight * row[c]);
            }
        }
    }
};

Combine combine_of(std::int64_t n, std::int64_t top_k, std::int64_t cols, Arithmetic arithmetic,
                   std::mt19937_64& prng) {
    return {.n = n,
            .top_k = top_k,
            .cols = cols,
            .arithmetic = arithmetic,
            .returned = {},
            .slot_of = shuffled(n * top_k, prng),
            .weights = {}};
}

// Whole numbers whose sums bf16 holds: a row that went astray shows as another number.
TEST(Rows, CombineSumsTheRightRowsExactly) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{5};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int64_t n : {0, 1, 30}) {
                for (const std::int64_t top_k : {1, 2, 8, 11}) {
                    SCOPED_TRACE(testing::Message() << n << " x " << cols << ", top " << top_k);
                    Combine c = combine_of(n, top_k, cols, arithmetic, prng);
                    c.returned = random_whole(n * top_k * cols, static_cast<int>(256 / top_k), prng);
                    std::vector<double> sums;
                    std::vector<double> magnitudes;
                    c.sum(sums, magnitudes);
                    expect_equal(c.run(), std::vector<float>(sums.begin(), sums.end()));
                }
            }
        }
    }
}

// K products and K - 1 sums, each rounded at most once, then the result.
TEST(Rows, CombineWeighsEachChoice) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{6};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int64_t n : {1, 30, 700}) {
                for (const std::int64_t top_k : {1, 8, 11}) {
                    SCOPED_TRACE(testing::Message() << n << " x " << cols << ", top " << top_k);
                    Combine c = combine_of(n, top_k, cols, arithmetic, prng);
                    c.returned = random_reals(n * top_k * cols, 2, arithmetic, prng);
                    c.weights = random_reals(n * top_k, 1, Arithmetic::f32, prng);
                    std::vector<double> sums;
                    std::vector<double> bound;
                    c.sum(sums, bound);
                    for (std::size_t i = 0; i < bound.size(); ++i) {
                        bound[i] *= static_cast<double>(top_k + 1) * kUnitF32;
                        bound[i] += (std::abs(sums[i]) + bound[i]) * unit_of(arithmetic);
                    }
                    expect_within(c.run(), sums, bound);
                }
            }
        }
    }
}

}  // namespace
}  // namespace shardproof::gpu
