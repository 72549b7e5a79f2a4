#include "gpu/layer_weights.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gpu/kernels/elementwise.cuh"
#include "gpu/kernels/matrix.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

bool is_native(DType dtype, Arithmetic arithmetic) {
    return dtype == (arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16);
}

// Copies each member's piece to its place along plan.dim. Whole copies where the pieces follow one another.
void join(const GatherPlan& plan, const Shape& local, const std::byte* pieces, std::byte* joined, std::int64_t width,
          StreamView stream) {
    std::int64_t outer = 1;
    std::int64_t inner_bytes = width;
    for (std::size_t d = 0; d < local.size(); ++d) {
        if (d < plan.dim) outer *= local[d];
        if (d > plan.dim) inner_bytes *= local[d];
    }
    const std::int64_t row_bytes = plan.shape[plan.dim] * inner_bytes;
    std::int64_t column = 0;
    for (const std::int64_t extent : plan.extents) {
        const std::int64_t bytes = extent * inner_bytes;
        if (bytes > 0 && outer > 0) {
            check(cudaMemcpy2DAsync(joined + column, static_cast<std::size_t>(row_bytes), pieces,
                                    static_cast<std::size_t>(bytes), static_cast<std::size_t>(bytes),
                                    static_cast<std::size_t>(outer), cudaMemcpyDeviceToDevice, stream.raw()));
        }
        pieces += bytes * outer;
        column += bytes;
    }
}

}  // namespace

PlanMismatch::PlanMismatch(Rank rank, const std::string& param, const Shape& held, const Shape& wanted)
    : std::runtime_error{fmt::format(
          "rank {} loaded {} of {} ({} elements) where its plan computes with {} ({} elements)", rank.value(),
          shardproof::to_string(held), param, num_elements(held), shardproof::to_string(wanted), num_elements(wanted))},
      rank_{rank},
      held_{num_elements(held)},
      wanted_{num_elements(wanted)} {}

void require_piece(const Plan& plan, std::size_t param_idx, Rank rank, const GatherPlan& gather, const Shape& held) {
    Shape wanted = gather.shape;
    if (gather.moves) {
        const Mesh& mesh = gather.axis == Axis::efsdp ? plan.meshes.sparse : plan.meshes.dense;
        wanted[gather.dim] = gather.extents[static_cast<std::size_t>(mesh.coordinate(rank, gather.axis))];
    }
    if (held != wanted) throw PlanMismatch{rank, plan.params[param_idx].parameter.name, held, wanted};
}

DeviceLoadReport LayerWeights::load(const Plan& plan, const Checkpoint& checkpoint, std::int64_t layer,
                                    const LocalRank& local, Staging& staging, const PlanFaults* faults) {
    DeviceLoadReport report;
    entries_.clear();
    held_params_.clear();
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        if (parameter.layer != layer || std::ranges::find(kMoeRoles, parameter.role) == kMoeRoles.end()) continue;
        Entry& entry = entries_[parameter.role];
        entry.dtype = plan.params[p].dtype;
        entry.held = load_param(plan, checkpoint, p, local.rank, staging, faults, report, local.stream);
        entry.plan = make_gather_plan(plan, p, local.rank);
        // Loaded by one plan and gathered by another, a rank would give more than it holds.
        require_piece(plan, p, local.rank, entry.plan, entry.held.shape);
        held_params_.push_back(p);
    }
    SP_ASSERT(entries_.size() == kMoeRoles.size());
    return report;
}

void LayerWeights::prepare(const Plan& plan, const LocalRank& local, Arithmetic arithmetic) {
    arithmetic_ = arithmetic;
    for (auto& [role, entry] : entries_) {
        const std::int64_t count = num_elements(entry.plan.shape);
        const std::int64_t width = bits_of(plan.params[entry.held.param_idx].dtype) / 8;
        if (entry.plan.moves) {
            entry.pieces.reserve(count * width);
            entry.pieces.poison(local.stream);
            entry.joined.reserve(count * width);
            entry.joined.poison(local.stream);
        }
        if (!is_native(entry.dtype, arithmetic)) {
            entry.converted.reserve(count * element_bytes(arithmetic));
            entry.converted.poison(local.stream);
        }
    }
}

std::optional<DeviceCall> LayerWeights::gather_call(Role role, const RankGroups& groups, Rank rank) {
    const Entry& entry = entries_.at(role);
    if (!entry.plan.moves) return std::nullopt;
    DeviceCall call;
    call.kind = CollectiveKind::all_gather;
    call.group = entry.plan.axis == Axis::efsdp ? &groups.efsdp : &groups.fsdp;
    call.rank = rank;
    call.dtype = entry.dtype;
    call.send = entry.held.bytes.data();
    call.receive = entry.pieces.data();
    call.counts = entry.plan.counts;
    call.what = name_of(role);
    return call;
}

void LayerWeights::settle(Role role, const LocalRank& local) {
    Entry& entry = entries_.at(role);
    const std::byte* whole = entry.held.bytes.data();
    if (entry.plan.moves) {
        join(entry.plan, entry.held.shape, entry.pieces.data(), entry.joined.data(), bits_of(entry.dtype) / 8,
             local.stream);
        whole = entry.joined.data();
    }
    if (!is_native(entry.dtype, arithmetic_)) {
        convert(whole, entry.dtype, entry.converted.data(), arithmetic_, num_elements(entry.plan.shape), local.stream);
        whole = entry.converted.data();
    }
    entry.weight = {.data = whole, .shape = entry.plan.shape};
}

const DeviceParam* LayerWeights::find(std::size_t param_idx) const {
    for (const auto& [role, entry] : entries_) {
        if (entry.held.param_idx == param_idx) return &entry.held;
    }
    return nullptr;
}

}  // namespace shardproof::gpu
