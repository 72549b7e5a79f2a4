#include <array>
#include <string>

#include "gpu/dispatchers/dispatcher.hpp"
#include "gpu/dispatchers/send_receive.hpp"
#include "gpu/dispatchers/windows.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

constexpr std::array kRows{
    DispatcherRow{.name = "send-receive",
                  .says = "counts, then rows, by send and receive; the host waits once a layer for the counts",
                  .host_waits = 1,
                  .why_not = [](const Transport&) -> std::optional<std::string> { return std::nullopt; },
                  .make = make_send_receive},
    DispatcherRow{.name = "windows",
                  .says = "rows stored straight into the peers' memory; the host never waits inside a layer",
                  .host_waits = 0,
                  .why_not = why_no_windows,
                  .make = make_windows_dispatcher},
};

}  // namespace

std::span<const DispatcherRow> dispatchers() { return kRows; }

const DispatcherRow& dispatcher_named(std::string_view name) {
    std::string names;
    for (const DispatcherRow& row : kRows) {
        if (row.name == name) return row;
        names += (names.empty() ? "" : ", ") + std::string{row.name};
    }
    throw InputError{{"command line", "--dispatcher", std::string{name}, "must be one of " + names}};
}

}  // namespace shardproof::gpu
