// Rows by NCCL's send and receive (or the loopback's copies): counts first, then rows. The host waits once a layer,
// because it must know how many rows to send and to receive.
#pragma once
#include <memory>

#include "gpu/dispatchers/dispatcher.hpp"

namespace shardproof::gpu {

[[nodiscard]] std::unique_ptr<Dispatcher> make_send_receive(Transport& transport, Ledger& ledger,
                                                            std::span<const LocalRank> ranks);

}  // namespace shardproof::gpu
