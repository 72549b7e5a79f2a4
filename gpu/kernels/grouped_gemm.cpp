#include "gpu/kernels/grouped_gemm.hpp"

#include <array>
#include <string>

#include "gpu/kernels/grouped_gemm_rows.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {

std::span<const GroupedGemmRow> grouped_gemms() {
    static const std::array rows{cutlass_grouped_gemm(), portable_grouped_gemm()};
    return rows;
}

const GroupedGemmRow& grouped_gemm_named(std::string_view name, Arithmetic arithmetic, std::int64_t in,
                                         std::int64_t out, int compute_capability) {
    const auto reject = [&](std::string rule) -> InputError {
        return InputError{{"command line", "--grouped-gemm", std::string{name}, std::move(rule)}};
    };
    std::string names = "auto";
    for (const GroupedGemmRow& row : grouped_gemms()) {
        names += ", " + std::string{row.name};
        if (name != row.name && name != "auto") continue;
        const char* why = row.why_not(arithmetic, in, out, compute_capability);
        if (why == nullptr) return row;
        if (name == row.name)
            throw reject(std::string{"cannot multiply in="} + std::to_string(in) + ", out=" + std::to_string(out) +
                         " here: " + why);
    }
    throw reject("must be one of " + names);
}

}  // namespace shardproof::gpu
