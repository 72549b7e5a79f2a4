#ifdef SHARDPROOF_HAS_GPU
// Which rows of the table of grouped GEMMs a plan's MoE layers run by, known before anything is loaded.
#include <algorithm>
#include <set>
#include <utility>

#include "gpu/kernels/grouped_gemm.hpp"
#include "oracle/model/error.hpp"
#include "props/device_check.hpp"
#include "sim/plan/gather_plan.hpp"

namespace shardproof {
namespace {

using Widths = std::pair<std::int64_t, std::int64_t>;  // in, out of one product

// Of all ranks' experts as they compute with them: w1 and w3 [experts, F, D], w2 [experts, D, F].
std::set<Widths> widths_of(const Plan& plan) {
    std::set<Widths> widths;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Role role = plan.params[p].parameter.role;
        if (role != Role::expert_w1 && role != Role::expert_w2) continue;
        for (std::int64_t r = 0; r < plan.world(); ++r) {
            const Shape shape = make_gather_plan(plan, p, Rank{r}).shape;
            widths.insert({shape[2], shape[1]});
        }
    }
    return widths;
}

}  // namespace

GroupedGemmChoice choose_grouped_gemm(const Plan& plan, Arithmetic arithmetic, const std::string& name,
                                      int compute_capability) {
    const auto rows = gpu::grouped_gemms();
    const bool is_known = name == "auto" || std::ranges::count(rows, name, &gpu::GroupedGemmRow::name) > 0;
    std::set<std::string_view> taken;
    GroupedGemmChoice choice;
    for (const auto& [in, out] : widths_of(plan)) {
        try {
            taken.insert(gpu::grouped_gemm_named(name, arithmetic, in, out, compute_capability).name);
        } catch (const InputError& error) {
            if (!is_known) throw;
            choice.why_not = error.parts().rule;
        }
    }
    for (const gpu::GroupedGemmRow& row : rows) {
        if (taken.contains(row.name)) choice.rows.emplace_back(row.name);
    }
    return choice;
}

}  // namespace shardproof
#endif
