// DeviceStall: why a run on devices ended early, and the words of its report.
#pragma once
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

struct DeviceStall {
    enum class Kind : std::uint8_t { deadline, mismatch, peer_lost };
    Kind kind{};
    struct Wait {
        Rank rank;
        std::string call;          // kind, dtype, bytes, group, purpose
        std::vector<Rank> absent;  // members of the group that are not known to have come
    };
    std::vector<Wait> waits;  // every local rank that waits, by rank
    std::string message;      // one line
};
class StallError : public std::runtime_error {
public:
    explicit StallError(DeviceStall stall);
    [[nodiscard]] const DeviceStall& stall() const { return stall_; }

private:
    DeviceStall stall_;
};
[[nodiscard]] DeviceStall::Kind stall_kind(Trouble::Kind kind);
// "deadline of 5 s passed".
[[nodiscard]] std::string deadline_passed(double seconds);
// "mismatched collective", "peer lost": what a report begins with.
[[nodiscard]] std::string_view prefix_of(DeviceStall::Kind kind);

// Who stands where when a process gives up.
struct StallScene {
    std::vector<Standing> here;  // of this process's ranks, by rank
    std::vector<DeviceStall::Wait> waits;  // of those that wait
    // What the other processes said; nullopt: there are none, or they cannot be asked.
    std::optional<std::vector<Standing>> elsewhere;
};
// Adds to the waits the ranks of other processes that did not say that they came.
void add_absent(StallScene& scene);
// Of the wait that tells most: "rank 0 waits in CALL for rank 1; rank 1 waits in OTHER CALL".
[[nodiscard]] std::string describe(const StallScene& scene);

}  // namespace shardproof::gpu
