// Loopback: N ranks of one process on one GPU, by device copies and a summing kernel. Needs no NCCL, and moves the same
// bytes; sums are taken in group order.
#pragma once
#include <memory>

#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

// Throws InputError where not all ranks are this process's, or they are not all on one device. Sums F32, BF16 (in f32,
// rounded once) and I64.
//
// A call that some members of a group skip holds the streams of those that came, as a collective does: until abort(),
// or for longer than any deadline of the caller.
[[nodiscard]] std::unique_ptr<Transport> make_loopback(const TransportOptions& options);

}  // namespace shardproof::gpu
