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

// How a law runs its case.
struct DeviceHow {
    std::string grouped_gemm = "auto";
    double deadline_s = 20;
};

// What laws that held have seen, added up.
struct DeviceSeen {
    double max_ratio = 0;  // largest error / bound
    std::int64_t tokens = 0;  // judged, a token once a layer
    std::int64_t tokens_with_other_ids = 0;  // of these: legal, their score gap is within its bound
};

struct DeviceLaw {
    std::string_view name;        // "gpu.windows.layer"
    std::string_view says;
    std::string_view dispatcher;
    bool multiplies;              // experts do, by the grouped GEMM; else rows are only carried
    bool (*applies)(const Case&);
    // A message when broken; a stall and what CUDA or NCCL answer are messages as well, after which the devices are not
    // usable. Throws what else a run throws.
    std::optional<std::string> (*fn)(Subject&, Devices&, const DeviceLaw&, const DeviceHow&, DeviceSeen& seen);
};
[[nodiscard]] std::span<const DeviceLaw> device_laws();
// Those named so, or whose name begins with it and a dot ("" is all), of one dispatcher ("" is any). Throws InputError
// listing the names when there is none.
[[nodiscard]] std::vector<const DeviceLaw*> device_laws_named(std::string_view name, std::string_view dispatcher);
// The row of the table that a case runs by where nobody asks for one: "auto" or "portable", drawn from its seeds.
[[nodiscard]] std::string drawn_grouped_gemm(const Case& c);

}  // namespace shardproof::props
