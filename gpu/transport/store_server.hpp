// StoreServer: the keys and values of a run, served by one thread of process 0 to all processes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace shardproof::gpu {

class StoreServer {
public:
    // Throws WireError where the port cannot be had.
    StoreServer(const std::string& host, std::uint16_t port, std::int64_t world);
    // Answers that are on their way still leave, for a second at most.
    ~StoreServer();
    StoreServer(const StoreServer&) = delete;
    StoreServer& operator=(const StoreServer&) = delete;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
