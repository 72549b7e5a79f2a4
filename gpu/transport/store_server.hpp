// StoreServer: the keys and values of a run, served by one thread of process 0 to all processes.
#pragma once
#include <memory>

#include "gpu/transport/processes.hpp"

namespace shardproof::gpu {

class StoreServer {
public:
    // Of the run that `self` is of. Throws WireError where the port cannot be had.
    StoreServer(const Processes& self, double linger_s);
    // Serves until every process of the run has come and gone, for `linger_s` at most.
    ~StoreServer();
    StoreServer(const StoreServer&) = delete;
    StoreServer& operator=(const StoreServer&) = delete;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
