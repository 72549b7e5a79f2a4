// NcclTransport: one communicator a mesh axis group, made once and cached by rank list. One thread issues all local
// ranks' calls inside a group call; ranks may share a GPU.
#pragma once
#include <memory>

#include "gpu/transport/nccl_library.hpp"
#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

// What a dispatcher keeps with the communicators, from one world to the next.
class Attachment {
public:
    virtual ~Attachment() = default;
    // The communicators are aborted or about to be: what belongs to them goes with them.
    virtual void abandon() noexcept = 0;
};

class NcclTransport final : public Transport {
public:
    // Throws EnvironmentError: no NCCL; too old for several ranks of one process on one GPU; NCCL_MULTI_RANK_GPU_ENABLE
    // or NCCL_MAX_CTAS set to what cannot work. Sets both for this process where they are not set.
    explicit NcclTransport(const TransportOptions& options);
    ~NcclTransport() override;

    [[nodiscard]] std::string_view name() const override { return "nccl"; }
    [[nodiscard]] std::string describe() const override;
    void connect(const RankGroup& group) override;
    void enqueue(std::span<const DeviceCall> calls) override;
    [[nodiscard]] std::optional<std::vector<Standing>> last_words(std::span<const Standing> mine,
                                                                  double wait_s) noexcept override;
    void abort() noexcept override;

    // For dispatchers that speak to NCCL themselves: the communicator of a local rank in a connected group.
    [[nodiscard]] ncclComm_t communicator(const RankGroup& group, Rank rank) const;
    [[nodiscard]] const NcclLibrary& library() const;
    // Freed before the communicators are.
    [[nodiscard]] std::unique_ptr<Attachment>& attachment();
    // Waits for a call on a non-blocking communicator that answered ncclInProgress; throws NcclError or StallError.
    void finish(ncclComm_t comm, std::string_view what);

protected:
    [[nodiscard]] std::optional<Trouble> find_trouble(Look look) override;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
