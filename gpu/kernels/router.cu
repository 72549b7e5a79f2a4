#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/router.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kWarps = 8;
constexpr int kLaneExpertsMax = 32;        // that a lane keeps in registers
constexpr int kLaneExpertsLargest = 256;   // that it keeps in its local memory

struct TopK {
    const float* logits;
    std::int64_t n;
    int num_experts;
    int top_k;
    bool softmax;
    bool norm;
    float scale;
    std::int32_t* ids;
    float* weights;
};

// Scores as integers of the same order, none of which is 0: they are zero or positive, or NaN, which comes last.
constexpr unsigned kTaken = 0;
constexpr unsigned kNotANumber = 1;
__device__ unsigned key_of(float score) { return isnan(score) ? kNotANumber : __float_as_uint(score) + 2; }
__device__ float score_of(unsigned key) {
    return key == kNotANumber ? __uint_as_float(0x7FC0'0000) : __uint_as_float(key - 2);
}

// The keys of a token's scores, expert lane + 32 * i in keys[i].
template <int kEach>
__device__ void load_keys(const TopK& a, const float* logits, unsigned (&keys)[kEach]) {
    constexpr int kUnroll = kEach <= kLaneExpertsMax ? kEach : 1;
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    float largest = -INFINITY;
#pragma unroll kUnroll
    for (int i = 0; i < kEach; ++i) {
        const int e = lane + kWarp * i;
        const float logit = e < a.num_experts ? logits[e] : -INFINITY;
        keys[i] = __float_as_uint(logit);
        largest = fmaxf(largest, logit);
    }
    largest = warp_max(largest);
    float sum = 0.0F;
#pragma unroll kUnroll
    for (int i = 0; i < kEach; ++i) {
        const float logit = __uint_as_float(keys[i]);
        const float score = a.softmax ? expf(logit - largest) : 1.0F / (1.0F + expf(-logit));
        if (lane + kWarp * i < a.num_experts) sum += score;
        keys[i] = __float_as_uint(score);
    }
    sum = warp_sum(sum);
#pragma unroll kUnroll
    for (int i = 0; i < kEach; ++i) {
        const float score = __uint_as_float(keys[i]);
        keys[i] = lane + kWarp * i < a.num_experts ? key_of(a.softmax ? score / sum : score) : kTaken;
    }
}

// Takes the best key out, of equal ones that of the lowest id. All lanes get both.
template <int kEach>
__device__ void take_best(unsigned (&keys)[kEach], unsigned& best, int& id) {
    constexpr int kUnroll = kEach <= kLaneExpertsMax ? kEach : 1;
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    unsigned mine = kTaken;
    int mine_idx = 0;
#pragma unroll kUnroll
    for (int i = 0; i < kEach; ++i) {
        if (keys[i] > mine) {
            mine = keys[i];
            mine_idx = i;
        }
    }
    best = __reduce_max_sync(kAllLanes, mine);
    const unsigned candidate = mine == best ? static_cast<unsigned>(lane + kWarp * mine_idx) : 0xFFFF'FFFFU;
    id = static_cast<int>(__reduce_min_sync(kAllLanes, candidate));
#pragma unroll kUnroll
    for (int i = 0; i < kEach; ++i) {
        if (lane + kWarp * i == id) keys[i] = kTaken;
    }
}

// A warp a token. Lane k % 32 keeps the k-th choice until 32 are there or it was the last.
template <int kEach>
__global__ void __launch_bounds__(kWarps* kWarp) choose(TopK a) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (token >= a.n) return;
    unsigned keys[kEach];
    load_keys(a, a.logits + token * a.num_experts, keys);
    std::int32_t* ids = a.ids + token * a.top_k;
    float* weights = a.weights + token * a.top_k;

    const int last_first = (a.top_k - 1) / kWarp * kWarp;  // choices before this one are written as they are chosen
    float sum = 0.0F;
    int my_id = 0;
    float my_weight = 0.0F;
    for (int k = 0; k < a.top_k; ++k) {
        unsigned best;
        int id;
        take_best(keys, best, id);
        const float score = score_of(best);
        sum += score;
        if (lane == k % kWarp) {
            my_id = id;
            my_weight = score;
        }
        if (k < last_first && lane == k % kWarp) {
            ids[k] = id;
            weights[k] = score;
        }
    }
    const auto finished = [&](float weight) { return (a.norm ? weight / sum : weight) * a.scale; };
    for (int k = lane; k < last_first; k += kWarp) weights[k] = finished(weights[k]);
    if (last_first + lane < a.top_k) {
        ids[last_first + lane] = my_id;
        weights[last_first + lane] = finished(my_weight);
    }
}

template <int kEach>
void launch(const TopK& a, StreamView stream) {
    choose<kEach><<<blocks_for(a.n, kWarps), kWarps * kWarp, 0, stream.raw()>>>(a);
    check(cudaGetLastError());
}

}  // namespace

void route_top_k(const RouterSpec& router, const float* logits, std::int64_t n, std::int32_t* ids, float* weights,
                 StreamView stream) {
    SP_ASSERT(router.top_k >= 1 && router.top_k <= router.num_experts);
    SP_ASSERT(router.num_experts <= kLaneExpertsLargest * kWarp);
    if (n == 0) return;
    const TopK a{.logits = logits,
                 .n = n,
                 .num_experts = static_cast<int>(router.num_experts),
                 .top_k = static_cast<int>(router.top_k),
                 .softmax = router.score == ScoreFunction::softmax,
                 .norm = router.norm_topk,
                 .scale = static_cast<float>(router.scale),
                 .ids = ids,
                 .weights = weights};
    const std::int64_t each = (router.num_experts + kWarp - 1) / kWarp;
    if (each <= 1) return launch<1>(a, stream);
    if (each <= 2) return launch<2>(a, stream);
    if (each <= 4) return launch<4>(a, stream);
    if (each <= 8) return launch<8>(a, stream);
    if (each <= 16) return launch<16>(a, stream);
    if (each <= kLaneExpertsMax) return launch<kLaneExpertsMax>(a, stream);
    launch<kLaneExpertsLargest>(a, stream);
}

}  // namespace shardproof::gpu
