// Laws of every row of the grouped GEMM's table.
#include "gpu/kernels/grouped_gemm.hpp"

#include <gtest/gtest.h>

#include <ostream>
#include <tuple>

#include "gpu/kernels/grouped_gemm_test_support.hpp"

namespace shardproof::gpu {

using Param = std::tuple<GroupedGemmRow, Arithmetic, int>;
static void PrintTo(const Param& param, std::ostream* out) { *out << std::get<0>(param).name; }

namespace grouped_gemm_test {
namespace {

int compute_capability() { return find_machine().devices.front().compute_capability; }

class GroupedGemmLaws : public testing::TestWithParam<Param> {
protected:
    [[nodiscard]] static bool can_run(const Shape3& shape) {
        const auto& [row, arithmetic, products] = GetParam();
        return row.why_not(arithmetic, shape.in, shape.out, compute_capability()) == nullptr;
    }
    void compare_all(Payload kind) {
        SHARDPROOF_NEEDS_GPU();
        const auto& [row, arithmetic, products] = GetParam();
        const Stream stream;
        int ran = 0;
        for (const Shape3& shape : shapes()) {
            if (!can_run(shape)) continue;
            ++ran;
            OnDevice problem{shape, arithmetic, products, kind, stream.view()};
            problem.run(row);
            judge(problem, shape, arithmetic, kind, shape.rows);
            if (HasFatalFailure()) return;
        }
        if (ran == 0) GTEST_SKIP() << row.name << " " << row.why_not(arithmetic, 64, 64, compute_capability());
    }
};

TEST_P(GroupedGemmLaws, IntegersComeOutExactInAnyOrderOfSummation) { compare_all(Payload::integers); }

TEST_P(GroupedGemmLaws, RealsStayWithinTheBoundOfTheirSum) { compare_all(Payload::reals); }

// A captured call is replayed with other groups: had the host read `begin`, the replay would still use the first.
TEST_P(GroupedGemmLaws, GroupsMayChangeWithoutTheHost) {
    SHARDPROOF_NEEDS_GPU();
    const auto& [row, arithmetic, products] = GetParam();
    const Shape3 shape{"replayed", 128, 136, {40, 0, 100, 7}, 200};
    if (!can_run(shape))
        GTEST_SKIP() << row.name << " " << row.why_not(arithmetic, shape.in, shape.out, compute_capability());
    const Stream stream;
    Shape3 all_used = shape;
    all_used.rows = {347, 0, 0, 0};
    all_used.rows_beyond = 0;
    OnDevice problem{all_used, arithmetic, products, Payload::integers, stream.view()};
    problem.set_begin(shape.rows);
    problem.run(row);  // what is done once (module loading) is not for a capture
    judge(problem, shape, arithmetic, Payload::integers, shape.rows);

    check(cudaStreamBeginCapture(stream.view().raw(), cudaStreamCaptureModeThreadLocal));
    problem.run(row);
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream.view().raw(), &graph));
    cudaGraphExec_t replay = nullptr;
    check(cudaGraphInstantiate(&replay, graph, 0));
    for (const std::vector<int>& rows :
         {std::vector<int>{0, 0, 347, 0}, std::vector<int>{0, 0, 0, 0}, std::vector<int>{1, 130, 0, 64}, shape.rows}) {
        problem.poison();
        problem.set_begin(rows);
        check(cudaGraphLaunch(replay, stream.view().raw()));
        check(cudaStreamSynchronize(stream.view().raw()));
        judge(problem, all_used, arithmetic, Payload::integers, rows);
        if (HasFatalFailure()) break;
    }
    check(cudaGraphExecDestroy(replay));
    check(cudaGraphDestroy(graph));
}

TEST_P(GroupedGemmLaws, NothingToDoIsNoError) {
    SHARDPROOF_NEEDS_GPU();
    const auto& [row, arithmetic, products] = GetParam();
    const Shape3 shape{"no experts", 64, 64, {}, 4};
    if (!can_run(shape)) GTEST_SKIP() << row.name << " " << row.why_not(arithmetic, 64, 64, compute_capability());
    const Stream stream;
    OnDevice problem{shape, arithmetic, products, Payload::integers, stream.view()};
    problem.run(row);
    judge(problem, shape, arithmetic, Payload::integers, {});
}

std::string name_of(const testing::TestParamInfo<Param>& param) {
    const auto& [row, arithmetic, products] = param.param;
    return std::string{row.name} + (arithmetic == Arithmetic::f32 ? "_f32_" : "_bf16_") + std::to_string(products);
}

INSTANTIATE_TEST_SUITE_P(All, GroupedGemmLaws,
                         testing::Combine(testing::ValuesIn(grouped_gemms().begin(), grouped_gemms().end()),
                                          testing::Values(Arithmetic::f32, Arithmetic::bf16), testing::Values(1, 2)),
                         name_of);

}  // namespace
}  // namespace grouped_gemm_test
}  // namespace shardproof::gpu
