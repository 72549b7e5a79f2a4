#include <array>

#include "gpu/transport/loopback.hpp"
#include "gpu/transport/nccl.hpp"
#include "gpu/transport/transport.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

std::unique_ptr<Transport> make_nccl(const TransportOptions& options) {
    return std::make_unique<NcclTransport>(options);
}

constexpr std::array kTransports{
    TransportRow{
        .name = "nccl", .says = "NCCL communicators: ranks on many GPUs, or several on one", .make = &make_nccl},
    TransportRow{.name = "loopback", .says = "device copies: ranks of one process on one GPU", .make = &make_loopback},
};

}  // namespace

std::span<const TransportRow> transports() { return kTransports; }

const TransportRow& transport_named(std::string_view name) {
    std::string names;
    for (const TransportRow& row : kTransports) {
        if (row.name == name) return row;
        names += (names.empty() ? "" : ", ") + std::string{row.name};
    }
    throw InputError{{"command line", "--transport", printable(name), "must be one of " + names}};
}

}  // namespace shardproof::gpu
