// What must hold of a case on real devices. One row a law and dispatcher; fuzz --backend gpu iterates over the table.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "props/device_check.hpp"
#include "props/laws/subject.hpp"

namespace shardproof::props {

// More ranks than these do not fit one GPU with the barriers of their windows.
inline constexpr std::int64_t kWindowsWorldMax = 8;

struct DeviceTry {
    bool stalled = false;   // the devices are of no use any more
    double max_ratio = 0;   // largest error / bound seen
};

struct DeviceLaw {
    std::string_view name;        // "gpu.windows.layer"
    std::string_view says;
    std::string_view dispatcher;
    bool (*applies)(const Case&);
    // A message when broken. Throws what a run throws; a stall is a message as well.
    std::optional<std::string> (*fn)(Subject&, Devices&, std::string_view dispatcher, DeviceTry& seen);
};
[[nodiscard]] std::span<const DeviceLaw> device_laws();
// Those named so, or whose name begins with it and a dot. Throws InputError listing the names when there is none.
[[nodiscard]] std::vector<const DeviceLaw*> device_laws_named(std::string_view name);

}  // namespace shardproof::props
