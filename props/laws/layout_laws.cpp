#include "props/laws/layout_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "oracle/transformer.hpp"
#include "sim/memory.hpp"

namespace shardproof::props::layout {

namespace {

// Calls visit(flat index of the element in the whole, its place in the shard) for a shard of `shape`.
template <class Visit>
void each_element(const std::vector<IndexRuns>& index, const Shape& shape, Visit&& visit) {
    std::vector<std::vector<std::int64_t>> indices(index.size());
    for (std::size_t dim = 0; dim < index.size(); ++dim) {
        for (const Run& run : index[dim]) {
            for (std::int64_t i = run.begin; i < run.end; ++i) indices[dim].push_back(i);
        }
        if (indices[dim].empty()) return;
    }
    std::vector<std::size_t> at(index.size(), 0);
    for (std::int64_t place = 0;; ++place) {
        std::int64_t flat = 0;
        for (std::size_t dim = 0; dim < index.size(); ++dim) flat = flat * shape[dim] + indices[dim][at[dim]];
        visit(flat, place);
        std::size_t dim = index.size();
        for (; dim > 0; --dim) {
            if (++at[dim - 1] < indices[dim - 1].size()) break;
            at[dim - 1] = 0;
        }
        if (dim == 0) return;
    }
}

// How many coordinates of an axis a redundant owner list gives an index; elsewhere once is right.
std::int64_t times_listed(const ParamPlan& param, std::span<const std::int64_t> at) {
    std::int64_t times = 1;
    for (const Placement& placement : param.placement.placements) {
        const auto* const owners = std::get_if<Owners>(&placement);
        if (owners == nullptr || !owners->redundant) continue;
        std::int64_t holders = 0;
        for (const IndexRuns& runs : owners->runs)
            holders += std::ranges::count_if(
                runs, [&](const Run& run) { return at[owners->dim] >= run.begin && at[owners->dim] < run.end; });
        times *= holders;
    }
    return times;
}

std::vector<std::int64_t> coordinate_of(std::int64_t flat, const Shape& shape) {
    std::vector<std::int64_t> at(shape.size());
    for (std::size_t dim = shape.size(); dim-- > 0; flat /= shape[dim]) at[dim] = flat % shape[dim];
    return at;
}

std::int64_t replicas_of(const Plan& plan, const ParamPlan& param) {
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    std::int64_t replicas = 1;
    for (std::size_t i = 0; i < mesh.axes().size(); ++i) {
        if (std::holds_alternative<Replicate>(param.placement.placements[i])) replicas *= mesh.axes()[i].size;
    }
    return replicas;
}

}  // namespace

std::optional<std::string> held_as_often_as_replicas(Subject& subject) {
    const Plan& plan = subject.plan();
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const ParamPlan& param = plan.params[p];
        const Shape& shape = param.parameter.shape;
        std::vector<std::int64_t> times(static_cast<std::size_t>(num_elements(shape)), 0);
        for (std::int64_t r = 0; r < plan.dims.world(); ++r) {
            each_element(shard_of(plan, p, Rank{r}), shape,
                         [&](std::int64_t flat, std::int64_t) { ++times[static_cast<std::size_t>(flat)]; });
        }
        const std::int64_t replicas = replicas_of(plan, param);
        for (std::size_t flat = 0; flat < times.size(); ++flat) {
            const std::int64_t listed = times_listed(param, coordinate_of(static_cast<std::int64_t>(flat), shape));
            if (times[flat] != replicas * listed || listed == 0)
                return fmt::format("{}: element {} is held by {} ranks, its replicas are {}", param.parameter.name,
                                   flat, times[flat], replicas * listed);
        }
    }
    const std::vector<std::string> violations = coverage_violations(plan);
    if (violations.empty()) return std::nullopt;
    return "the plan's own proof disagrees with a count of every element: " + violations.front();
}

std::optional<std::string> reassembles(Subject& subject) {
    const Plan& plan = subject.plan();
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const std::string& name = plan.params[p].parameter.name;
        const Tensor whole = oracle::whole_parameter(subject.model().config, subject.model().checkpoint, name);
        const auto width = static_cast<std::size_t>(bits_of(whole.dtype) / 8);
        std::vector<std::byte> joined(whole.bytes.size(), std::byte{0xFF});
        std::optional<std::string> message;
        for (std::int64_t r = 0; r < plan.dims.world() && !message; ++r) {
            sim::LoadReport report;
            const sim::HeldParam held =
                sim::load_param(plan, subject.loaded_model().checkpoint, p, Rank{r}, subject.faults(), report);
            each_element(shard_of(plan, p, Rank{r}), whole.shape, [&](std::int64_t flat, std::int64_t place) {
                const std::size_t to = static_cast<std::size_t>(flat) * width;
                const std::size_t from = static_cast<std::size_t>(place) * width;
                if (from + width > held.bytes.size()) {
                    message = fmt::format("{}: rank {} holds fewer elements than its shard has", name, r);
                    return;
                }
                std::memcpy(joined.data() + to, held.bytes.data() + from, width);
                if (!message && std::memcmp(joined.data() + to, whole.bytes.data() + to, width) != 0)
                    message = fmt::format("{}: rank {} brings other bits of element {}", name, r, flat);
            });
        }
        if (message) return message;
        if (joined != whole.bytes) return fmt::format("{}: the shards leave a hole", name);
    }
    return std::nullopt;
}

}  // namespace shardproof::props::layout
