// Follows the program of the virtual ranks call by call: layers/{vocabulary,attention,mlp,experts}.cpp.
#include "sim/cost.hpp"

#include <algorithm>
#include <optional>

#include "oracle/model/error.hpp"
#include "sim/forward.hpp"
#include "sim/plan/dim_runs.hpp"
#include "sim/plan/dispatch_plan.hpp"

namespace shardproof::sim {

namespace {

class Costing {
public:
    Costing(const Plan& plan, const StepOptions& options)
        : plan_{plan}, options_{options}, config_{plan.config}, world_{static_cast<std::size_t>(plan.world())} {
        SP_ASSERT(static_cast<std::int64_t>(options.tokens_of_dp.size()) == plan.dims.batch());
        travels_ = options.arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16;
        width_ = bits_of(travels_) / 8;
        for (std::size_t r = 0; r < world_; ++r) {
            const Rank rank{static_cast<std::int64_t>(r)};
            const auto dp = static_cast<std::size_t>(plan.meshes.data.coordinate(rank, Axis::batch));
            rows_.push_back(static_cast<std::int64_t>(options.tokens_of_dp[dp].size()));
            slices_.push_back(chunk(rows_[r], plan.dims.tp(), plan.meshes.dense.coordinate(rank, Axis::tp)));
            slice_rows_.push_back(slices_[r].size());
        }
        cost_.activation_bytes.assign(world_, 0);
        cost_.dispatch_bytes.assign(world_, 0);
    }

    StepCost run() {
        stage_ = 0;
        gather(Role::tok_embeddings, std::nullopt);
        summed_over_tp("embeddings");
        fullest([&](std::size_t r) { return 2 * rows_[r] * config_.hidden_size * width_; });
        for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
            stage_ = 1 + layer;
            if (const auto same = layer_like(layer)) {
                repeat(1 + *same);
            } else {
                attention(layer);
                config_.is_moe(layer) ? moe(layer) : dense(layer);
            }
        }
        stage_ = config_.num_layers + 1;
        head();
        for (const CollectiveCost& call : cost_.collectives)
            cost_.time_us += call.time_us * static_cast<double>(call.stages.size());
        return std::move(cost_);
    }

private:
    bool sequence_parallel() const { return plan_.dims.sequence_parallel() && plan_.dims.tp() > 1; }
    const Mesh& dense_mesh() const { return plan_.meshes.dense; }

    // --- layers that are alike ---

    bool same_params(std::int64_t a, std::int64_t b) const {
        const auto of = [&](std::int64_t layer) {
            std::vector<const ParamPlan*> found;
            for (const ParamPlan& param : plan_.params) {
                if (param.parameter.layer == layer) found.push_back(&param);
            }
            return found;
        };
        return std::ranges::equal(of(a), of(b), [](const ParamPlan* x, const ParamPlan* y) {
            return x->parameter.role == y->parameter.role && x->parameter.shape == y->parameter.shape &&
                   x->dtype == y->dtype && x->placement.mesh == y->placement.mesh &&
                   x->placement.placements == y->placement.placements;
        });
    }

    std::optional<std::int64_t> layer_like(std::int64_t layer) {
        for (const std::int64_t earlier : distinct_layers_) {
            const bool routed = config_.is_moe(layer) && !options_.same_in_all_layers;
            if (config_.is_moe(layer) == config_.is_moe(earlier) && !routed && same_params(layer, earlier))
                return earlier;
        }
        distinct_layers_.push_back(layer);
        return std::nullopt;
    }

    void repeat(std::int64_t stage) {
        for (CollectiveCost& call : cost_.collectives) {
            const auto times = std::ranges::count(call.stages, stage);
            call.stages.insert(call.stages.end(), static_cast<std::size_t>(times), stage_);
        }
    }

    // --- what blocks call ---

    void attention(std::int64_t layer) {
        gather(Role::attention_norm, layer);
        gathered_over_tp("attention input");
        for (const Role role : {Role::wq, Role::wk, Role::wv}) gather(role, layer);
        for (const Role role : {Role::q_norm, Role::k_norm}) {
            if (has_param(role, layer)) gather(role, layer);
        }
        gather(Role::wo, layer);
        summed_over_tp("attention output");
        const PerRank q = computed_extent(Role::wq, layer, 0);
        const PerRank k = computed_extent(Role::wk, layer, 0);
        fullest([&](std::size_t r) {
            return (stream_rows(r) * config_.hidden_size + rows_[r] * (2 * config_.hidden_size + 2 * q[r] + 2 * k[r])) *
                   width_;
        });
    }

    void dense(std::int64_t layer) {
        gather(Role::ffn_norm, layer);
        gathered_over_tp("mlp input");
        for (const Role role : {Role::ffn_w1, Role::ffn_w3, Role::ffn_w2}) gather(role, layer);
        summed_over_tp("mlp output");
        const PerRank hidden = computed_extent(Role::ffn_w1, layer, 0);
        fullest([&](std::size_t r) {
            return (stream_rows(r) * config_.hidden_size + rows_[r] * (2 * config_.hidden_size + 2 * hidden[r])) *
                   width_;
        });
    }

    void moe(std::int64_t layer) {
        const bool own_rows = dispatches_own_rows(plan_);
        const bool shares = config_.shared_intermediate_size > 0;
        gather(Role::ffn_norm, layer);
        if (!own_rows) gathered_over_tp("moe input");
        if (own_rows && shares) gathered_over_tp("shared input");
        gather(Role::router_gate, layer);
        for (const Role role : {Role::expert_w1, Role::expert_w3, Role::expert_w2}) gather(role, layer);
        const PerRank hidden = computed_extent(Role::expert_w1, layer, 1);
        PerRank arrived(world_);
        PerRank worked;  // rows that a rank works on: those of all parts of its experts
        if (own_rows) {
            exchange(layer, arrived, worked);
            if (!sequence_parallel()) summed_over_tp("moe output");
        } else {
            for (std::size_t r = 0; r < world_; ++r) arrived[r] = rows_[r] * config_.router.top_k;
            summed_over_tp("moe output");
            worked = arrived;
        }
        if (shares) shared_expert(layer);
        fullest([&](std::size_t r) {
            const std::int64_t routed = sequence_parallel() && own_rows ? slice_rows_[r] : rows_[r];
            return (stream_rows(r) * config_.hidden_size + routed * 2 * config_.hidden_size +
                    worked[r] * (2 * config_.hidden_size + 2 * hidden[r])) *
                       width_ +
                   routed * config_.router.num_experts * 4;
        });
    }

    // On all rows, beside the routed experts' answers.
    void shared_expert(std::int64_t layer) {
        for (const Role role : {Role::shared_w1, Role::shared_w3, Role::shared_w2}) gather(role, layer);
        summed_over_tp("shared output");
        const PerRank hidden = computed_extent(Role::shared_w1, layer, 0);
        fullest([&](std::size_t r) {
            return (2 * stream_rows(r) * config_.hidden_size + rows_[r] * (2 * config_.hidden_size + 2 * hidden[r])) *
                   width_;
        });
    }

    void head() {
        gather(Role::final_norm, std::nullopt);
        gathered_over_tp("head input");
        const Role role = config_.tie_embeddings ? Role::tok_embeddings : Role::lm_head;
        gather(role, std::nullopt);
        const PerRank columns = computed_extent(role, std::nullopt, 0);
        fullest([&](std::size_t r) {
            return (stream_rows(r) + rows_[r]) * config_.hidden_size * width_ +
                   rows_[r] * (columns[r] + config_.vocab_size) * width_;
        });
        if (plan_.dims.tp() == 1) return;
        PerRank sent(world_);
        for (std::size_t r = 0; r < world_; ++r) sent[r] = rows_[r] * columns[r] * width_;
        PerRank received = summed(dense_mesh(), Axis::tp, sent);
        add(CollectiveKind::all_gather, dense_mesh(), Axis::tp, "logits", travels_, std::move(sent),
            std::move(received));
    }

    // Dispatch and combine of one layer: the rows that reach each rank, and those that it works on with the other parts
    // of its experts.
    void exchange(std::int64_t layer, PerRank& arrived, PerRank& worked) {
        const Mesh& mesh = plan_.meshes.sparse;
        const ExpertMap experts = expert_map(plan_, layer);
        Traffic counts{world_};
        Traffic rows{world_};
        Traffic back{world_};
        arrived.assign(world_, 0);
        PerRank sent_rows(world_);
        PerRank counts_sent(world_, static_cast<std::int64_t>(experts.num_held()) * 8);
        PerRank counts_received(world_);
        const std::int64_t row_bytes = config_.hidden_size * width_;
        for (std::size_t r = 0; r < world_; ++r) {
            const Rank rank{static_cast<std::int64_t>(r)};
            const std::vector<Rank> peers = mesh.group(rank, Axis::ep);
            const auto me = static_cast<std::size_t>(mesh.coordinate(rank, Axis::ep));
            const std::vector<std::int64_t> to = rows_to_peers(experts, layer, r);
            sent_rows[r] = slice_rows_[r] * config_.router.top_k;
            counts_received[r] = static_cast<std::int64_t>(peers.size() * experts.held[me].size()) * 8;
            for (std::size_t p = 0; p < peers.size(); ++p) {
                arrived[peers[p].idx()] += to[p];
                const bool near = options_.network.same_node(rank, peers[p]);
                if (peers[p] == rank) continue;
                counts.move(r, peers[p].idx(), near, static_cast<std::int64_t>(experts.held[p].size()) * 8);
                rows.move(r, peers[p].idx(), near, to[p] * row_bytes);
                back.move(peers[p].idx(), r, near, to[p] * row_bytes);
            }
        }
        PerRank sent(world_);
        PerRank received(world_);
        for (std::size_t r = 0; r < world_; ++r) {
            sent[r] = sent_rows[r] * row_bytes;
            received[r] = arrived[r] * row_bytes;
            cost_.dispatch_bytes[r] = std::max(cost_.dispatch_bytes[r], sent[r] + received[r]);
        }
        const bool alone = mesh.size(Axis::ep) == 1;
        if (!alone) {
            record({CollectiveKind::all_to_all,
                    "ep",
                    "rows of each expert",
                    DType::I64,
                    {},
                    std::move(counts_sent),
                    std::move(counts_received),
                    exchange_time_us(options_.network, counts)});
            record({CollectiveKind::all_to_all,
                    "ep",
                    "dispatch",
                    travels_,
                    {},
                    sent,
                    received,
                    exchange_time_us(options_.network, rows)});
        }
        worked = worked_by_parts(experts, arrived);
        if (alone) return;
        record({CollectiveKind::all_to_all,
                "ep",
                "combine",
                travels_,
                {},
                std::move(received),
                std::move(sent),
                exchange_time_us(options_.network, back)});
    }

    // Where experts are cut in parts everyone's rows go through everyone's part.
    PerRank worked_by_parts(const ExpertMap& experts, const PerRank& arrived) {
        const Mesh& mesh = plan_.meshes.sparse;
        if (!mesh.has(Axis::etp) || mesh.size(Axis::etp) == 1) return arrived;
        Traffic counts{world_};
        PerRank bytes(world_);
        for (std::size_t r = 0; r < world_; ++r) {
            const Rank rank{static_cast<std::int64_t>(r)};
            const auto me = static_cast<std::size_t>(mesh.coordinate(rank, Axis::ep));
            const std::int64_t to_each = static_cast<std::int64_t>(experts.held[me].size()) * 8;
            const std::vector<Rank> parts = mesh.group(rank, Axis::etp);
            bytes[r] = to_each * static_cast<std::int64_t>(parts.size());
            for (const Rank part : parts) {
                if (part != rank) counts.move(r, part.idx(), options_.network.same_node(rank, part), to_each);
            }
        }
        record({CollectiveKind::all_to_all,
                "etp",
                "rows of each part's experts",
                DType::I64,
                {},
                bytes,
                bytes,
                exchange_time_us(options_.network, counts)});
        PerRank worked = summed(mesh, Axis::etp, arrived);
        add(CollectiveKind::all_gather, mesh, Axis::etp, "rows of all parts", travels_, bytes_of(arrived),
            bytes_of(worked));
        add(CollectiveKind::reduce_scatter, mesh, Axis::etp, "sums over parts", travels_, bytes_of(worked),
            bytes_of(arrived));
        return worked;
    }

    std::vector<std::int64_t> rows_to_peers(const ExpertMap& experts, std::int64_t layer, std::size_t r) const {
        const auto dp = plan_.meshes.data.coordinate(Rank{static_cast<std::int64_t>(r)}, Axis::batch);
        const std::vector<std::int64_t>& tokens = options_.tokens_of_dp[static_cast<std::size_t>(dp)];
        std::vector<ExpertId> ids;
        for (std::int64_t row = slices_[r].begin; row < slices_[r].end; ++row) {
            for (std::int64_t k = 0; k < config_.router.top_k; ++k)
                ids.push_back(options_.expert_of(layer, tokens[static_cast<std::size_t>(row)], k));
        }
        return plan_dispatch(experts, ids, config_.router.top_k).rows_to_peer;
    }

    // --- collectives ---

    void gather(Role role, std::optional<std::int64_t> layer) {
        const std::size_t p = param_of(role, layer);
        const ParamPlan& param = plan_.params[p];
        SP_ASSERT(!param.placement.shards);
        const Mesh& mesh = plan_.mesh(param.placement.mesh);
        const Axis axis = param.placement.mesh == MeshKind::sparse ? Axis::efsdp : Axis::fsdp;
        if (mesh.size(axis) == 1 || dim_of(param.placement.placements[mesh.axis_idx(axis)]) < 0) return;
        PerRank sent(world_);
        for (std::size_t r = 0; r < world_; ++r) sent[r] = shard_bytes(plan_, p, Rank{static_cast<std::int64_t>(r)});
        PerRank received = summed(mesh, axis, sent);
        add(CollectiveKind::all_gather, mesh, axis, name_of(role), param.dtype, std::move(sent), std::move(received));
    }

    // A block's input where each tp rank has its slice.
    void gathered_over_tp(std::string_view what) {
        if (!sequence_parallel()) return;
        add(CollectiveKind::all_gather, dense_mesh(), Axis::tp, what, travels_, bytes_of(slice_rows_), bytes_of(rows_));
    }
    // A block's output, partial sums over tp.
    void summed_over_tp(std::string_view what) {
        if (plan_.dims.tp() == 1) return;
        const bool scattered = sequence_parallel();
        add(scattered ? CollectiveKind::reduce_scatter : CollectiveKind::all_reduce, dense_mesh(), Axis::tp, what,
            travels_, bytes_of(rows_), bytes_of(scattered ? slice_rows_ : rows_));
    }

    void add(CollectiveKind kind, const Mesh& mesh, Axis axis, std::string_view what, DType dtype, PerRank sent,
             PerRank received) {
        const double time_us = ring_time_us(options_.network, kind, mesh, axis, sent, received);
        record({kind, name_of(axis), what, dtype, {}, std::move(sent), std::move(received), time_us});
    }
    void record(CollectiveCost call) {
        for (CollectiveCost& known : cost_.collectives) {
            if (known.kind != call.kind || known.group != call.group || known.what != call.what ||
                known.dtype != call.dtype || known.sent != call.sent || known.received != call.received ||
                known.time_us != call.time_us)
                continue;
            known.stages.push_back(stage_);
            return;
        }
        call.stages = {stage_};
        cost_.collectives.push_back(std::move(call));
    }

    // --- sums and extents ---

    bool has_param(Role role, std::optional<std::int64_t> layer) const {
        return std::ranges::any_of(plan_.params, [&](const ParamPlan& param) {
            return param.parameter.role == role && param.parameter.layer == layer;
        });
    }
    std::size_t param_of(Role role, std::optional<std::int64_t> layer) const {
        for (std::size_t p = 0; p < plan_.params.size(); ++p) {
            if (plan_.params[p].parameter.role == role && plan_.params[p].parameter.layer == layer) return p;
        }
        SP_ASSERT(!"the model has a parameter of this role");
        return 0;
    }
    // Of the part that each rank computes with, FSDP's pieces gathered.
    PerRank computed_extent(Role role, std::optional<std::int64_t> layer, std::size_t dim) const {
        const ParamPlan& param = plan_.params[param_of(role, layer)];
        const Mesh& mesh = plan_.mesh(param.placement.mesh);
        std::vector<Placement> placements = param.placement.placements;
        placements[mesh.axis_idx(param.placement.mesh == MeshKind::sparse ? Axis::efsdp : Axis::fsdp)] = Replicate{};
        PerRank extents(world_);
        for (std::size_t r = 0; r < world_; ++r) {
            const std::vector<std::int64_t> coordinates = mesh.coordinates(Rank{static_cast<std::int64_t>(r)});
            extents[r] = num_indices(stored_runs(mesh, placements, dim, param.parameter.shape[dim], coordinates));
        }
        return extents;
    }
    PerRank summed(const Mesh& mesh, Axis axis, const PerRank& values) const {
        PerRank by_first(world_, 0);
        const auto first = [&](std::size_t r) {
            return mesh.first_of_group(Rank{static_cast<std::int64_t>(r)}, axis).idx();
        };
        for (std::size_t r = 0; r < world_; ++r) by_first[first(r)] += values[r];
        PerRank sums(world_);
        for (std::size_t r = 0; r < world_; ++r) sums[r] = by_first[first(r)];
        return sums;
    }
    PerRank bytes_of(const PerRank& rows) const {
        PerRank bytes(rows);
        for (std::int64_t& count : bytes) count *= config_.hidden_size * width_;
        return bytes;
    }
    std::int64_t stream_rows(std::size_t r) const { return sequence_parallel() ? slice_rows_[r] : rows_[r]; }
    template <class Bytes>
    void fullest(const Bytes& bytes) {
        for (std::size_t r = 0; r < world_; ++r)
            cost_.activation_bytes[r] = std::max(cost_.activation_bytes[r], bytes(r));
    }

    const Plan& plan_;
    const StepOptions& options_;
    const ModelConfig& config_;
    std::size_t world_;
    DType travels_{};
    std::int64_t width_ = 0;
    PerRank rows_;  // of each rank's data-parallel share
    std::vector<Run> slices_;  // of these, the ones that tp deals it
    PerRank slice_rows_;
    std::int64_t stage_ = 0;
    std::vector<std::int64_t> distinct_layers_;
    StepCost cost_;
};

}  // namespace

StepCost cost_of(const Plan& plan, const StepOptions& options) {
    require_runnable(plan.dims);
    return Costing{plan, options}.run();
}

}  // namespace shardproof::sim
