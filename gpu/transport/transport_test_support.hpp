// For tests of transports: what each member of a group gives and must get, and the same fixture for every transport of
// the table, with 1 to 8 ranks of this process on one GPU.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <chrono>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/gpu_test_support.hpp"
#include "gpu/ledger.hpp"
#include "gpu/transport/transport.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu::transport_test {

using Bytes = std::vector<std::byte>;
using Counts = std::vector<std::int64_t>;

inline std::int64_t sum_of(const Counts& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

// What member i of a group gives and gets, in elements.
struct Exchange {
    CollectiveKind kind{};
    DType dtype{};
    std::vector<Counts> counts = {};          // of each member
    std::vector<Counts> receive_counts = {};  // all_to_all only
    std::size_t root_idx = 0;
};

// Small whole numbers: sums of 16 are exact in every dtype here, in any order.
inline std::int64_t value_at(std::size_t member, std::int64_t element) {
    return (static_cast<std::int64_t>(member) * 7 + element * 3) % 8;
}

template <class T>
void append(Bytes& bytes, T value) {
    const auto raw = std::as_bytes(std::span{&value, 1});
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

inline void append_as(Bytes& bytes, DType dtype, std::int64_t value) {
    switch (dtype) {
        case DType::F32:
            return append(bytes, static_cast<float>(value));
        case DType::BF16:
            return append(bytes,
                          static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16));
        case DType::I64:
            return append(bytes, value);
        case DType::I32:
            return append(bytes, static_cast<std::int32_t>(value));
        default:
            ASSERT_EQ(dtype, DType::U8);
            return append(bytes, static_cast<std::uint8_t>(value));
    }
}

inline std::int64_t elements_sent(const Exchange& x, std::size_t member) {
    if (x.kind == CollectiveKind::all_gather) return x.counts[member][member];
    if (x.kind == CollectiveKind::broadcast && member != x.root_idx) return 0;
    return sum_of(x.counts[member]);
}

inline Bytes sent_by(const Exchange& x, std::size_t member) {
    Bytes bytes;
    for (std::int64_t e = 0; e < elements_sent(x, member); ++e) append_as(bytes, x.dtype, value_at(member, e));
    return bytes;
}

inline Bytes wanted_at(const Exchange& x, std::size_t member) {
    const std::size_t members = x.counts.size();
    Bytes bytes;
    const auto copied = [&](std::size_t from, std::int64_t begin, std::int64_t count) {
        for (std::int64_t e = begin; e < begin + count; ++e) append_as(bytes, x.dtype, value_at(from, e));
    };
    const auto summed = [&](std::int64_t begin, std::int64_t count) {
        for (std::int64_t e = begin; e < begin + count; ++e) {
            std::int64_t sum = 0;
            for (std::size_t m = 0; m < members; ++m) sum += value_at(m, e);
            append_as(bytes, x.dtype, sum);
        }
    };
    const auto before = [](const Counts& counts, std::size_t idx) {
        return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(idx), std::int64_t{0});
    };
    switch (x.kind) {
        case CollectiveKind::all_gather:
            for (std::size_t m = 0; m < members; ++m) copied(m, 0, x.counts[m][m]);
            break;
        case CollectiveKind::reduce_scatter:
            summed(before(x.counts[member], member), x.counts[member][member]);
            break;
        case CollectiveKind::all_reduce:
            summed(0, sum_of(x.counts[member]));
            break;
        case CollectiveKind::all_to_all:
            for (std::size_t m = 0; m < members; ++m) copied(m, before(x.counts[m], member), x.counts[m][member]);
            break;
        case CollectiveKind::broadcast:
            copied(x.root_idx, 0, sum_of(x.counts[member]));
            break;
        case CollectiveKind::barrier:
            break;
    }
    return bytes;
}

struct Setting {
    std::string_view transport;
    std::int64_t world = 1;
};

class OnTransport : public ::testing::TestWithParam<Setting> {
protected:
    static constexpr double kDeadline_s = 2;

    void SetUp() override {
        SHARDPROOF_NEEDS_GPU();
        world_ = GetParam().world;
        for (std::int64_t r = 0; r < world_; ++r) {
            streams_.emplace_back();
            ranks_.push_back({.rank = Rank{r}, .device = 0, .stream = streams_.back().view()});
            all_.ranks.emplace_back(r);
        }
        try {
            renew();
        } catch (const EnvironmentError& error) {
            GTEST_SKIP() << error.what();
        }
    }

    void renew(double deadline_s = 60) {
        transport_.reset();
        transport_ = transport_named(GetParam().transport)
                         .make({.local_ranks = ranks_, .world = world_, .deadline_s = deadline_s, .store = nullptr});
    }

    [[nodiscard]] std::vector<Counts> same_for_all(const Counts& counts) const {
        return std::vector<Counts>(static_cast<std::size_t>(world_), counts);
    }

    // count(from, to) elements of each pair.
    template <class Count>
    [[nodiscard]] Exchange pairs(DType dtype, Count count) const {
        const auto n = static_cast<std::size_t>(world_);
        Exchange x{.kind = CollectiveKind::all_to_all, .dtype = dtype, .counts = {}, .receive_counts = {}};
        for (std::size_t from = 0; from < n; ++from) {
            x.counts.emplace_back();
            x.receive_counts.emplace_back();
            for (std::size_t to = 0; to < n; ++to) {
                x.counts.back().push_back(count(from, to));
                x.receive_counts.back().push_back(count(to, from));
            }
        }
        return x;
    }

    // The memory of one exchange on one group, and its calls.
    struct Run {
        std::deque<Guarded<std::byte>> sent;
        std::deque<Guarded<std::byte>> received;
        std::vector<DeviceCall> calls;
    };
    [[nodiscard]] Run prepare(const Exchange& x, const RankGroup& group) {
        Run run;
        for (std::size_t m = 0; m < group.size(); ++m) {
            const LocalRank& local = ranks_[group.ranks[m].idx()];
            run.sent.emplace_back(sent_by(x, m), local.stream);
            DeviceCall call{.kind = x.kind,
                            .group = &group,
                            .rank = local.rank,
                            .dtype = x.dtype,
                            .send = run.sent.back().data(),
                            .receive = nullptr,
                            .counts = x.counts[m],
                            .receive_counts = x.receive_counts.empty() ? Counts{} : x.receive_counts[m],
                            .root_idx = x.root_idx,
                            .what = "test"};
            run.received.emplace_back(call.receive_bytes(), local.stream);
            call.receive = run.received.back().data();
            run.calls.push_back(std::move(call));
        }
        return run;
    }

    void expect_exact(const Exchange& x, const RankGroup& group) {
        SCOPED_TRACE(std::string{name_of(x.kind)} + " of " + std::string{name_of(x.dtype)} + ", counts of the first " +
                     testing::PrintToString(x.counts[0]));
        Ledger ledger{*transport_, ranks_, 60, nullptr};
        Run run = prepare(x, group);
        ledger.enqueue(run.calls);
        // A stream that goes on overwrites at once what it has sent.
        for (std::size_t m = 0; m < group.size(); ++m)
            check(cudaMemsetAsync(run.sent[m].data(), 0xEE, static_cast<std::size_t>(run.calls[m].send_bytes()),
                                  ranks_[group.ranks[m].idx()].stream.raw()));
        ledger.wait();
        for (std::size_t m = 0; m < group.size(); ++m) {
            const Bytes got = run.received[m].read();
            const Bytes want = wanted_at(x, m);
            ASSERT_EQ(got.size(), want.size());
            const auto [at, wanted] = std::mismatch(got.begin(), got.end(), want.begin());
            ASSERT_TRUE(at == got.end()) << "member " << m << ", byte " << at - got.begin();
        }
    }

    template <class Body>
    DeviceStall stall_of(Body body) {
        const auto begin = std::chrono::steady_clock::now();
        try {
            body();
        } catch (const StallError& error) {
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            EXPECT_LT(took.count(), 2 * kDeadline_s + 3);
            return error.stall();
        }
        ADD_FAILURE() << "no stall";
        return {};
    }

    // What was aborted ran to its end, and a fresh transport works.
    void expect_recovery() {
        for (const LocalRank& rank : ranks_) check(cudaStreamSynchronize(rank.stream.raw()));
        EXPECT_TRUE(transport_->trouble().has_value());
        renew();
        expect_exact({.kind = CollectiveKind::all_reduce, .dtype = DType::F32, .counts = same_for_all({33})}, all_);
    }

    [[nodiscard]] Exchange all_to_all() const {
        return pairs(DType::F32, [](std::size_t, std::size_t) { return std::int64_t{64}; });
    }

    std::int64_t world_ = 1;
    std::deque<Stream> streams_;
    std::vector<LocalRank> ranks_;
    RankGroup all_{.axis = "ep", .ranks = {}};
    std::unique_ptr<Transport> transport_;
};

inline std::vector<Setting> settings() {
    std::vector<Setting> all;
    for (const TransportRow& row : transports()) {
        for (const std::int64_t world : {1, 2, 3, 4, 8}) all.push_back({.transport = row.name, .world = world});
    }
    return all;
}
inline std::string name_of_setting(const testing::TestParamInfo<Setting>& info) {
    return std::string{info.param.transport} + "_" + std::to_string(info.param.world);
}
}  // namespace shardproof::gpu::transport_test
