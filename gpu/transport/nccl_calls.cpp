#include "gpu/transport/nccl_calls.hpp"

#include <algorithm>
#include <numeric>

#include "gpu/transport/nccl_library.hpp"

namespace shardproof::gpu {
namespace {

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

std::int64_t sum_before(const std::vector<std::int64_t>& counts, std::size_t idx) {
    return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(idx), std::int64_t{0});
}

bool all_equal(const std::vector<std::int64_t>& counts) {
    return std::ranges::adjacent_find(counts, std::not_equal_to{}) == counts.end();
}

ncclDataType_t type_of(DType dtype) {
    switch (dtype) {
        case DType::F32:
            return ncclFloat32;
        case DType::BF16:
            return ncclBfloat16;
        case DType::F16:
            return ncclFloat16;
        case DType::I32:
            return ncclInt32;
        case DType::I64:
            return ncclInt64;
        default:
            SP_ASSERT(dtype == DType::U8);
            return ncclUint8;
    }
}

// A call with what every kind needs of it.
struct Issue {
    const NcclIssue& how;
    const DeviceCall& call;
    cudaStream_t stream;
    ncclDataType_t type;
    std::int64_t width;  // bytes of an element
    std::size_t me;

    [[nodiscard]] const std::byte* send(std::int64_t element) const {
        return static_cast<const std::byte*>(call.send) + element * width;
    }
    [[nodiscard]] std::byte* receive(std::int64_t element) const {
        return static_cast<std::byte*>(call.receive) + element * width;
    }
};

std::size_t size_of(std::int64_t count) { return static_cast<std::size_t>(count); }

void all_gather(const Issue& i) {
    const std::vector<std::int64_t>& counts = i.call.counts;
    if (all_equal(counts)) {
        if (counts[0] == 0) return;
        return check(
            i.how.f.ncclAllGather(i.call.send, i.call.receive, size_of(counts[0]), i.type, i.how.comm, i.stream));
    }
    std::int64_t begin = 0;
    for (std::size_t root = 0; root < counts.size(); ++root) {
        if (counts[root] == 0) continue;
        std::byte* target = i.receive(begin);
        check(i.how.f.ncclBroadcast(root == i.me ? i.call.send : target, target, size_of(counts[root]), i.type,
                                    static_cast<int>(root), i.how.comm, i.stream));
        begin += counts[root];
    }
}

void reduce_scatter(const Issue& i) {
    const std::vector<std::int64_t>& counts = i.call.counts;
    if (all_equal(counts)) {
        if (counts[0] == 0) return;
        return check(i.how.f.ncclReduceScatter(i.call.send, i.call.receive, size_of(counts[0]), i.type, ncclSum,
                                               i.how.comm, i.stream));
    }
    std::int64_t begin = 0;
    for (std::size_t root = 0; root < counts.size(); ++root) {
        if (counts[root] == 0) continue;
        check(i.how.f.ncclReduce(i.send(begin), root == i.me ? i.call.receive : nullptr, size_of(counts[root]), i.type,
                                 ncclSum, static_cast<int>(root), i.how.comm, i.stream));
        begin += counts[root];
    }
}

void all_to_all(const Issue& i) {
    for (std::size_t peer = 0; peer < i.call.counts.size(); ++peer) {
        if (peer == i.me) continue;  // copy_own()
        const std::int64_t out = i.call.counts[peer];
        const std::int64_t in = i.call.receive_counts[peer];
        if (out > 0)
            check(i.how.f.ncclSend(i.send(sum_before(i.call.counts, peer)), size_of(out), i.type,
                                   static_cast<int>(peer), i.how.comm, i.stream));
        if (in > 0)
            check(i.how.f.ncclRecv(i.receive(sum_before(i.call.receive_counts, peer)), size_of(in), i.type,
                                   static_cast<int>(peer), i.how.comm, i.stream));
    }
}

void copy(void* to, const void* from, std::int64_t bytes, StreamView stream) {
    if (bytes > 0 && to != from)
        check(cudaMemcpyAsync(to, from, size_of(bytes), cudaMemcpyDeviceToDevice, stream.raw()));
}

}  // namespace

void issue(const NcclIssue& how, const DeviceCall& call, StreamView stream) {
    const NcclFunctions& f = how.f;
    if (call.kind == CollectiveKind::barrier)
        return check(f.ncclAllReduce(how.scratch, how.scratch, 1, ncclFloat32, ncclSum, how.comm, stream.raw()));
    const Issue i{.how = how,
                  .call = call,
                  .stream = stream.raw(),
                  .type = type_of(call.dtype),
                  .width = bits_of(call.dtype) / 8,
                  .me = call.group->idx_of(call.rank)};
    const std::int64_t count = sum_of(call.counts);
    switch (call.kind) {
        case CollectiveKind::all_gather:
            return all_gather(i);
        case CollectiveKind::reduce_scatter:
            return reduce_scatter(i);
        case CollectiveKind::all_to_all:
            return all_to_all(i);
        case CollectiveKind::all_reduce:
            if (count > 0)
                check(f.ncclAllReduce(call.send, call.receive, size_of(count), i.type, ncclSum, how.comm, i.stream));
            return;
        case CollectiveKind::broadcast:
            if (count > 0)
                check(f.ncclBroadcast(i.me == call.root_idx ? call.send : call.receive, call.receive, size_of(count),
                                      i.type, static_cast<int>(call.root_idx), how.comm, i.stream));
            return;
        case CollectiveKind::barrier:
            return;
    }
}

void copy_own(const DeviceCall& call, StreamView stream) {
    if (call.group->size() == 1) return copy(call.receive, call.send, call.send_bytes(), stream);
    if (call.kind != CollectiveKind::all_to_all) return;
    const std::size_t me = call.group->idx_of(call.rank);
    const std::int64_t width = bits_of(call.dtype) / 8;
    if (call.counts[me] == 0) return;
    copy(static_cast<std::byte*>(call.receive) + sum_before(call.receive_counts, me) * width,
         static_cast<const std::byte*>(call.send) + sum_before(call.counts, me) * width, call.counts[me] * width,
         stream);
}

}  // namespace shardproof::gpu
