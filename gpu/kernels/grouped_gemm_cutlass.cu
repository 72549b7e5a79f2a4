// The grouped GEMM of CUTLASS 4.2 for sm_90a: one persistent launch over experts * products groups, whose sizes and
// addresses a small kernel writes from `begin`, so that the host waits for nothing.
#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/grouped_gemm_rows.hpp"

#ifdef SHARDPROOF_HAS_CUTLASS

#include <algorithm>
#include <limits>

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/group_array_problem_shape.hpp"
#include "cutlass/gemm/kernel/gemm_universal.hpp"

namespace shardproof::gpu {
namespace {

using cute::_1;
using cute::_128;
using cute::_2;
using cute::_256;
using cute::_64;
using Element = cutlass::bfloat16_t;
using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;  // w is [out, in]: in runs fastest
using Sizes = cute::Shape<int, int, int>;          // rows, out, in of one group
using GroupSizes = cutlass::gemm::GroupProblemShape<Sizes>;
constexpr int kAlignment = 8;  // elements: 16 bytes, the least that TMA copies

// A tile of the output, the blocks of one cluster, and how two warpgroups share the work: one tile each in turn
// (pingpong), or both on one tile (cooperative).
struct Pingpong {
    using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpong;
    using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedPingpong;
};
struct Cooperative {
    using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedCooperative;
    using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedCooperative;
};
template <class Schedule, class Tile, class Cluster>
struct Configuration {
    using CollectiveEpilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
        cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
        cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, RowMajor*, kAlignment, Element, RowMajor*,
        kAlignment, typename Schedule::Epilogue,
        cutlass::epilogue::fusion::LinearCombination<Element, float, void>>::CollectiveOp;
    using CollectiveMainloop = typename cutlass::gemm::collective::CollectiveBuilder<
        cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Element, RowMajor*, kAlignment, Element, ColumnMajor*,
        kAlignment, float, Tile, Cluster,
        cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
            sizeof(typename CollectiveEpilogue::SharedStorage))>,
        typename Schedule::Mainloop>::CollectiveOp;
    using Kernel = cutlass::gemm::kernel::GemmUniversal<GroupSizes, CollectiveMainloop, CollectiveEpilogue>;
    using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
};
using FewRows = Configuration<Pingpong, cute::Shape<_64, _256, _64>, cute::Shape<_1, _1, _1>>;
using ShortSums = Configuration<Pingpong, cute::Shape<_128, _128, _64>, cute::Shape<_1, _2, _1>>;
using ManyRows = Configuration<Cooperative, cute::Shape<_128, _256, _64>, cute::Shape<_2, _1, _1>>;

using Stride = cute::Stride<std::int64_t, _1, cute::_0>;
static_assert(std::is_same_v<Stride, FewRows::Kernel::InternalStrideA>);
static_assert(std::is_same_v<Stride, FewRows::Kernel::InternalStrideB>);
static_assert(std::is_same_v<Stride, FewRows::Kernel::InternalStrideD>);

// The workspace: what each group is, then what CUTLASS asks for (tensor maps, some for each multiprocessor).
struct Groups {
    Sizes* sizes = nullptr;
    const Element** x = nullptr;
    const Element** w = nullptr;
    Element** y = nullptr;
    Stride* stride_in = nullptr;
    Stride* stride_out = nullptr;
    void* rest = nullptr;
    std::int64_t bytes = 0;
};
constexpr std::int64_t kRestBytesPerMultiprocessor = 8 * 128;

Groups lay_out(void* workspace, std::int64_t num_groups, int multiprocessors) {
    std::int64_t at = 0;
    const auto take = [&](std::int64_t bytes) {
        std::byte* const begin = static_cast<std::byte*>(workspace) + at;
        at += (bytes + 255) / 256 * 256;
        return static_cast<void*>(begin);
    };
    Groups g;
    g.sizes = static_cast<Sizes*>(take(num_groups * sizeof(Sizes)));
    g.x = static_cast<const Element**>(take(num_groups * sizeof(void*)));
    g.w = static_cast<const Element**>(take(num_groups * sizeof(void*)));
    g.y = static_cast<Element**>(take(num_groups * sizeof(void*)));
    g.stride_in = static_cast<Stride*>(take(num_groups * sizeof(Stride)));
    g.stride_out = static_cast<Stride*>(take(num_groups * sizeof(Stride)));
    g.rest = take(multiprocessors * kRestBytesPerMultiprocessor);
    g.bytes = at;
    return g;
}

struct Operands {
    const Element* x = nullptr;
    const Element* w[2] = {};
    Element* y[2] = {};
    const std::int32_t* begin = nullptr;
    std::int64_t in = 0;
    std::int64_t out = 0;
    int num_products = 0;
};

// Products of one expert are neighbours: the second finds the rows in L2.
__global__ void describe_groups(const __grid_constant__ Operands o, int num_groups, const __grid_constant__ Groups to) {
    const int g = blockIdx.x * blockDim.x + threadIdx.x;
    if (g >= num_groups) return;
    const int expert = g / o.num_products;
    const int product = g % o.num_products;
    const std::int64_t first = o.begin[expert];
    const auto rows = static_cast<int>(o.begin[expert + 1] - first);
    to.sizes[g] = cute::make_shape(rows, static_cast<int>(o.out), static_cast<int>(o.in));
    to.x[g] = o.x + first * o.in;
    to.w[g] = (product == 0 ? o.w[0] : o.w[1]) + expert * o.out * o.in;
    to.y[g] = (product == 0 ? o.y[0] : o.y[1]) + first * o.out;
    to.stride_in[g] = cute::make_stride(o.in, _1{}, cute::_0{});
    to.stride_out[g] = cute::make_stride(o.out, _1{}, cute::_0{});
}

void require(cutlass::Status status) {
    if (status == cutlass::Status::kSuccess) return;
    check(cudaGetLastError());
    throw EnvironmentError{std::string{"CUTLASS refused the grouped GEMM: "} + cutlassGetStatusString(status),
                           "use --grouped-gemm portable"};
}

template <class Configuration>
void launch(const Groups& groups, int num_groups, int multiprocessors, StreamView stream) {
    using Gemm = typename Configuration::Gemm;
    typename Gemm::Arguments arguments{};
    arguments.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
    arguments.problem_shape = {num_groups, groups.sizes, nullptr};
    arguments.mainloop = {groups.x, groups.stride_in, groups.w, groups.stride_in};
    arguments.epilogue.thread.alpha = 1.0F;
    arguments.epilogue.thread.beta = 0.0F;
    arguments.epilogue.ptr_D = groups.y;
    arguments.epilogue.dD = groups.stride_out;
    check(cudaGetDevice(&arguments.hw_info.device_id));
    arguments.hw_info.sm_count = multiprocessors;
    // Neighbours in time share a slice of w, which then is read from memory once.
    using Raster = std::remove_cvref_t<decltype(arguments.scheduler.raster_order)>;
    arguments.scheduler.raster_order = Raster::AlongM;
    SP_ASSERT(static_cast<std::int64_t>(Gemm::get_workspace_size(arguments)) <=
              multiprocessors * kRestBytesPerMultiprocessor);
    Gemm gemm;
    require(Gemm::can_implement(arguments));
    require(gemm.initialize(arguments, groups.rest, stream.raw()));
    require(gemm.run(stream.raw()));
    check(cudaGetLastError());
}

Operands operands(const GroupedGemm& gemm) {
    Operands o{.x = static_cast<const Element*>(gemm.x.data),
               .begin = gemm.begin,
               .in = gemm.x.cols,
               .out = gemm.out,
               .num_products = static_cast<int>(gemm.products.size())};
    SP_ASSERT(aligned({o.x}));
    for (std::size_t p = 0; p < gemm.products.size(); ++p) {
        o.w[p] = static_cast<const Element*>(gemm.products[p].w);
        o.y[p] = static_cast<Element*>(gemm.products[p].y);
        SP_ASSERT(aligned({o.w[p], o.y[p]}));
    }
    return o;
}

void run(const GroupedGemm& gemm, void* workspace, StreamView stream) {
    SP_ASSERT(gemm.x.arithmetic == Arithmetic::bf16);
    SP_ASSERT(gemm.products.size() == 1 || gemm.products.size() == 2);
    if (gemm.num_experts == 0 || gemm.x.rows == 0 || gemm.out == 0) return;
    constexpr std::int64_t most = std::numeric_limits<int>::max();
    SP_ASSERT(gemm.x.rows <= most && gemm.out <= most && gemm.x.cols <= most && gemm.num_experts <= most / 2);
    SP_ASSERT(gemm.x.cols >= kAlignment && gemm.x.cols % kAlignment == 0 && gemm.out % kAlignment == 0);

    const auto num_groups = static_cast<int>(gemm.num_experts * static_cast<std::int64_t>(gemm.products.size()));
    const int multiprocessors = num_multiprocessors();
    const Groups groups = lay_out(workspace, num_groups, multiprocessors);
    describe_groups<<<(num_groups + 127) / 128, 128, 0, stream.raw()>>>(operands(gemm), num_groups, groups);
    check(cudaGetLastError());

    // Measured on an H200: with up to a tile of rows an expert the smaller tile wastes less; a short sum is over before
    // a large tile pays; long sums over many rows want the most reuse.
    const std::int64_t rows_per_expert = gemm.x.rows / gemm.num_experts;
    if (rows_per_expert > 128 && gemm.x.cols <= 1024) {
        launch<ShortSums>(groups, num_groups, multiprocessors, stream);
    } else if (rows_per_expert > 512 && gemm.x.cols >= 4096) {
        launch<ManyRows>(groups, num_groups, multiprocessors, stream);
    } else {
        launch<FewRows>(groups, num_groups, multiprocessors, stream);
    }
}

const char* why_not(Arithmetic arithmetic, std::int64_t in, std::int64_t out, int compute_capability) {
    if (compute_capability != 90) return "needs compute capability 9.0";
    if (arithmetic != Arithmetic::bf16) return "needs bf16";
    if (in % kAlignment != 0 || in == 0) return "in must be a multiple of 8";
    if (out % kAlignment != 0) return "out must be a multiple of 8";
    return nullptr;
}

std::int64_t workspace_bytes(std::int64_t num_experts, int num_products) {
    return lay_out(nullptr, num_experts * num_products, num_multiprocessors()).bytes;
}

constexpr GroupedGemmRow kRow{.name = "cutlass",
                              .says = "CUTLASS 4.2, TMA and wgmma",
                              .why_not = why_not,
                              .workspace_bytes = workspace_bytes,
                              .run = run};

}  // namespace

const GroupedGemmRow& cutlass_grouped_gemm() { return kRow; }

}  // namespace shardproof::gpu

#else

namespace shardproof::gpu {
namespace {

constexpr GroupedGemmRow kRow{
    .name = "cutlass",
    .says = "CUTLASS 4.2, TMA and wgmma",
    .why_not = [](Arithmetic, std::int64_t, std::int64_t, int) { return "is not in this build: no CUTLASS headers"; },
    .workspace_bytes = [](std::int64_t, int) -> std::int64_t { return 0; },
    .run = [](const GroupedGemm&, void*, StreamView) { SP_ASSERT(false && "why_not was not asked"); }};

}  // namespace

const GroupedGemmRow& cutlass_grouped_gemm() { return kRow; }

}  // namespace shardproof::gpu

#endif
