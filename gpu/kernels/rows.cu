#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/rows.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// ---- whole rows, bit by bit, in the widest unit that divides them

// One warp. Written past the caches' reach: what is read here is read again for other slots, what is written is not.
template <class Unit>
__device__ void copy_row(const Unit* from, Unit* to, std::int64_t units) {
    constexpr int kInFlight = 4;
    for (std::int64_t first = threadIdx.x % kWarp; first < units; first += kInFlight * kWarp) {
        Unit held[kInFlight];
#pragma unroll
        for (int j = 0; j < kInFlight; ++j) {
            if (first + j * kWarp < units) held[j] = from[first + j * kWarp];
        }
#pragma unroll
        for (int j = 0; j < kInFlight; ++j) {
            if (first + j * kWarp < units) __stcs(to + first + j * kWarp, held[j]);
        }
    }
}

// A move says how many rows there are, and from which to which row the r-th goes.
struct Slots {
    const std::int32_t* slot_choice;
    std::int64_t num_slots;
    std::int32_t top_k;
    __device__ std::int64_t count() const { return num_slots; }
    __device__ std::int64_t source(std::int64_t r) const { return slot_choice[r] / top_k; }
    __device__ std::int64_t target(std::int64_t r) const { return r; }
};
struct Gather {
    const std::int32_t* index;
    const std::int32_t* num_rows;
    __device__ std::int64_t count() const { return *num_rows; }
    __device__ std::int64_t source(std::int64_t r) const { return index[r]; }
    __device__ std::int64_t target(std::int64_t r) const { return r; }
};
struct Scatter {
    const std::int32_t* index;
    const std::int32_t* num_rows;
    __device__ std::int64_t count() const { return *num_rows; }
    __device__ std::int64_t source(std::int64_t r) const { return r; }
    __device__ std::int64_t target(std::int64_t r) const { return index[r]; }
};

// A warp a row.
template <class Unit, class Move>
__global__ void __launch_bounds__(kThreads) move_rows(Move move, const Unit* from, Unit* to, std::int64_t units) {
    const std::int64_t count = move.count();
    std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    for (; r < count; r += static_cast<std::int64_t>(gridDim.x) * kWarps) {
        copy_row(from + move.source(r) * units, to + move.target(r) * units, units);
    }
}

template <class Move>
void launch_move(const Move& move, const ConstMatrix& from, const Matrix& to, std::int64_t rows_max,
                 StreamView stream) {
    SP_ASSERT(from.cols == to.cols && from.arithmetic == to.arithmetic);
    const std::int64_t row_bytes = from.cols * element_bytes(from.arithmetic);
    if (rows_max == 0 || row_bytes == 0) return;
    const auto launch = [&](auto unit) {
        using Unit = decltype(unit);
        move_rows<<<striding_blocks_for(rows_max, kWarps), kThreads, 0, stream.raw()>>>(
            move, static_cast<const Unit*>(from.data), static_cast<Unit*>(to.data),
            row_bytes / static_cast<std::int64_t>(sizeof(Unit)));
        check(cudaGetLastError());
    };
    const bool wide = aligned({from.data, to.data});
    if (wide && row_bytes % 16 == 0) {
        launch(uint4{});
    } else if (wide && row_bytes % 4 == 0) {
        launch(std::uint32_t{});
    } else {
        launch(std::uint16_t{});
    }
}

// ---- weighted rows: a block a row

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gather_weighted(Slots slots, const float* weights, const T* x, T* to, std::int64_t cols) {
    const std::int64_t slot = blockIdx.x;
    const float weight = weights[slots.slot_choice[slot]];
    x += slots.source(slot) * cols;
    to += slot * cols;
    for (std::int64_t c = threadIdx.x * kWidth; c < cols; c += static_cast<std::int64_t>(blockDim.x) * kWidth) {
        auto pack = load_pack<kWidth>(x + c);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) pack.at[j] = rounded<T>(widened(pack.at[j]) * weight);
        store_pack(to + c, pack);
    }
}

// A token's rows are loaded kInFlight at a time, and added in order.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) combine_token(const T* returned, const std::int32_t* slot_of,
                                                          const float* weights, int top_k, T* out, std::int64_t cols) {
    constexpr int kInFlight = 8;
    const std::int64_t token = blockIdx.x;
    slot_of += token * top_k;
    if (weights != nullptr) weights += token * top_k;
    out += token * cols;
    for (std::int64_t c = threadIdx.x * kWidth; c < cols; c += static_cast<std::int64_t>(blockDim.x) * kWidth) {
        float sum[kWidth] = {};
        for (int first = 0; first < top_k; first += kInFlight) {
            Pack<T, kWidth> held[kInFlight];
#pragma unroll
            for (int k = 0; k < kInFlight; ++k) {
                if (first + k < top_k) held[k] = load_pack<kWidth>(returned + slot_of[first + k] * cols + c);
            }
#pragma unroll
            for (int k = 0; k < kInFlight; ++k) {
                if (first + k >= top_k) break;
                const float weight = weights == nullptr ? 1.0F : weights[first + k];
#pragma unroll
                for (int j = 0; j < kWidth; ++j) sum[j] += weight * widened(held[k].at[j]);
            }
        }
        Pack<T, kWidth> result;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) result.at[j] = rounded<T>(sum[j]);
        store_pack(out + c, result);
    }
}

unsigned threads_for(std::int64_t packs) {
    return static_cast<unsigned>(std::min<std::int64_t>((packs + kWarp - 1) / kWarp * kWarp, kThreads));
}

template <class T, int kWidth>
void launch_weighted(const Slots& slots, const float* weights, const ConstMatrix& x, const Matrix& to,
                     StreamView stream) {
    gather_weighted<T, kWidth><<<blocks_for(slots.num_slots, 1), threads_for(x.cols / kWidth), 0, stream.raw()>>>(
        slots, weights, static_cast<const T*>(x.data), static_cast<T*>(to.data), x.cols);
    check(cudaGetLastError());
}

template <class T, int kWidth>
void launch_combine(const ConstMatrix& returned, const std::int32_t* slot_of, const float* weights, std::int64_t top_k,
                    const Matrix& out, StreamView stream) {
    combine_token<T, kWidth><<<blocks_for(out.rows, 1), threads_for(out.cols / kWidth), 0, stream.raw()>>>(
        static_cast<const T*>(returned.data), slot_of, weights, static_cast<int>(top_k), static_cast<T*>(out.data),
        out.cols);
    check(cudaGetLastError());
}

}  // namespace

void gather_slots(ConstMatrix x, const std::int32_t* slot_choice, std::int64_t num_slots, std::int64_t top_k,
                  const float* weights_or_null, Matrix to, StreamView stream) {
    SP_ASSERT(top_k >= 1 && num_slots <= to.rows && x.cols == to.cols && x.arithmetic == to.arithmetic);
    if (num_slots == 0 || x.cols == 0) return;
    const Slots slots{slot_choice, num_slots, static_cast<std::int32_t>(top_k)};
    if (weights_or_null == nullptr) return launch_move(slots, x, to, num_slots, stream);
    with_element(x.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        packs_fit<T>(x.cols, {x.data, to.data}) ? launch_weighted<T, kPack<T>>(slots, weights_or_null, x, to, stream)
                                                : launch_weighted<T, 1>(slots, weights_or_null, x, to, stream);
    });
}

void gather_rows(ConstMatrix from, const std::int32_t* index, const std::int32_t* num_rows, Matrix to,
                 StreamView stream) {
    launch_move(Gather{index, num_rows}, from, to, to.rows, stream);
}

void scatter_rows(ConstMatrix from, const std::int32_t* index, const std::int32_t* num_rows, Matrix to,
                  StreamView stream) {
    launch_move(Scatter{index, num_rows}, from, to, from.rows, stream);
}

void combine_slots(ConstMatrix returned, const std::int32_t* slot_of, const float* weights_or_null, std::int64_t top_k,
                   Matrix out, StreamView stream) {
    SP_ASSERT(top_k >= 1 && returned.rows >= out.rows * top_k);
    SP_ASSERT(returned.cols == out.cols && returned.arithmetic == out.arithmetic);
    if (out.rows == 0 || out.cols == 0) return;
    with_element(out.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        packs_fit<T>(out.cols, {returned.data, out.data})
            ? launch_combine<T, kPack<T>>(returned, slot_of, weights_or_null, top_k, out, stream)
            : launch_combine<T, 1>(returned, slot_of, weights_or_null, top_k, out, stream);
    });
}

}  // namespace shardproof::gpu
