#include "props/device_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "gpu/device_world.hpp"
#include "gpu/layer_weights.hpp"
#include "gpu/memory_needed.hpp"
#include "gpu/transport/nccl_library.hpp"
#include "oracle/model/error.hpp"
#include "props/device_end.hpp"
#include "props/device_exchange.hpp"
#include "props/device_faults.hpp"
#include "props/device_inputs.hpp"
#include "props/device_judge.hpp"
#include "sim/forward.hpp"

namespace shardproof {
namespace {

using gpu::DeviceWorld;
using gpu::MoeRank;

void substitute(StageRecord& stage, const std::vector<MoeRank>& ranks) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
        stage.ranks[r].expert_ids = ranks[r].expert_ids;
        stage.ranks[r].expert_weights = ranks[r].expert_weights;
        stage.ranks[r].output = ranks[r].output;
    }
}

std::string layer_name(std::int64_t layer) { return name_of(StageKind::layer, layer); }

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// What ended a run early.
struct Ended {
    std::optional<gpu::DeviceStall> stall;
    std::optional<gpu::PlanMismatch> unfit;
    std::string why;

    void put_into(CheckReport& report, const std::string& layer) const {
        if (unfit) report.load_ok = false;
        if (stall) return props::report_stall(*stall, layer, report);
        if (!report.failure) report.failure = as_mismatch(layer);
    }
    [[nodiscard]] Mismatch as_mismatch(const std::string& layer) const {
        if (unfit) {
            return exact_mismatch(layer, unfit->rank(), {}, static_cast<double>(unfit->held()),
                                  static_cast<double>(unfit->wanted()), why);
        }
        const Rank rank = stall && !stall->waits.empty() ? stall->waits.front().rank : Rank{0};
        return exact_mismatch(layer, rank, {}, 0, 0, why);
    }
};

// A world and all of ours that it uses.
struct WorldAtHand {
    std::shared_ptr<gpu::Session> session;
    props::DeviceFaultSet faults;
    std::unique_ptr<DeviceWorld> world;  // last: it goes before what it uses
};

class RealDevices final : public Devices {
public:
    explicit RealDevices(const DevicesOptions& options)
        : session_{std::make_shared<gpu::Session>(
              gpu::SessionOptions{
                  .transport = options.transport, .world = options.world, .deadline_s = options.deadline_s},
              gpu::find_processes())} {}
    ~RealDevices() override {
        if (!usable_) props::end_or_leave(std::move(session_), kEnd_s, "the devices' streams and communicators");
    }
    [[nodiscard]] std::string describe() const override;
    [[nodiscard]] DevicesFacts facts() const override;
    [[nodiscard]] bool is_first_process() const override { return session_->processes().rank == 0; }
    [[nodiscard]] bool usable() const override { return usable_; }
    [[nodiscard]] std::optional<std::string> why_not(const std::string& dispatcher) const override {
        auto why = gpu::dispatcher_named(dispatcher).why_not(session_->transport());
        if (why && !session_->why_not_nccl().empty())
            *why += fmt::format("; NCCL was not taken: {}", session_->why_not_nccl());
        return why;
    }
    [[nodiscard]] GroupedGemmChoice grouped_gemm(const Plan& plan, Arithmetic arithmetic,
                                                 const std::string& name) const override;
    [[nodiscard]] CheckReport check(const Model& model, const Plan& plan, const Batch& batch,
                                    const DeviceCheckOptions& options) override;
    [[nodiscard]] std::optional<Mismatch> check_carrying(const Model& model, const Plan& plan, const Batch& batch,
                                                         const DeviceCheckOptions& options,
                                                         std::uint64_t payload_seed) override;

private:
    // What is freed on broken devices waits for them, for ever where a kernel never ends.
    static constexpr double kEnd_s = 10;

    // Calls fn(WorldAtHand&). Whatever that throws passes on when the other processes have been told; on devices that
    // broke nobody waits for the world's end.
    template <class Fn>
    auto with_world(const DeviceCheckOptions& options, Fn&& fn);
    // No more runs on these devices; other processes wait for this one's ranks no longer.
    void give_up() noexcept;
    // To make communicators fails for what the machine lacks; a layer that is loaded and run fails by its own doing.
    enum class Doing : std::uint8_t { connect, run };
    template <class Fn>
    std::optional<Ended> ended_early(Doing doing, Fn&& fn);
    [[nodiscard]] std::optional<Ended> connect(WorldAtHand& at_hand, const Model& model, const Plan& plan,
                                               const gpu::WorldOptions& options);
    [[nodiscard]] CheckReport check_layers(WorldAtHand& at_hand, const Model& model, const Plan& plan,
                                           const Batch& batch, const DeviceCheckOptions& options, std::int64_t first);
    void judge_layer(CheckReport& report, const oracle::Judge& judge, const Plan& judged, StageRecord& stage,
                     props::LayerShare share) const;
    [[nodiscard]] std::optional<Mismatch> carry_layer(WorldAtHand& at_hand, const Model& model, const Plan& plan,
                                                      const Batch& batch, const DeviceCheckOptions& options,
                                                      std::uint64_t payload_seed, std::int64_t layer);
    [[nodiscard]] props::LayerShare run_layer(DeviceWorld& world, const Model& model, const Plan& judged,
                                              const Plan& plan, const StageRecord& stage, double deadline_s);
    [[nodiscard]] static gpu::WorldOptions world_options(const DeviceCheckOptions& options,
                                                         const props::DeviceFaultSet& faults);

    std::shared_ptr<gpu::Session> session_;
    bool usable_ = true;
    std::int64_t step_ = 0;  // counts what processes told each other
};

std::string RealDevices::describe() const {
    const gpu::Machine& machine = session_->machine();
    return fmt::format("{}, CUDA {} (driver {})", session_->describe(), version_text(machine.runtime_version),
                       version_text(machine.driver_version));
}

DevicesFacts RealDevices::facts() const {
    const gpu::Machine& machine = session_->machine();
    DevicesFacts facts{.gpu = machine.devices.front().name,
                       .transport = std::string{session_->transport().name()},
                       .nccl = std::nullopt,
                       .cuda_driver = version_text(machine.driver_version),
                       .cuda_runtime = version_text(machine.runtime_version),
                       .note = std::string{session_->why_not_nccl()}};
    if (facts.transport == "nccl") facts.nccl = gpu::NcclLibrary::get().version_text();
    return facts;
}

GroupedGemmChoice RealDevices::grouped_gemm(const Plan& plan, Arithmetic arithmetic, const std::string& name) const {
    std::set<int> capabilities;
    for (const gpu::DeviceInfo& device : session_->machine().devices) {
        const auto runs_here = [&](const gpu::LocalRank& local) { return local.device == device.ordinal; };
        if (std::ranges::any_of(session_->local_ranks(), runs_here)) capabilities.insert(device.compute_capability);
    }
    GroupedGemmChoice choice;
    for (const int capability : capabilities) {
        GroupedGemmChoice one = choose_grouped_gemm(plan, arithmetic, name, capability);
        if (one.why_not) choice.why_not = std::move(one.why_not);
        for (std::string& row : one.rows) {
            if (std::ranges::find(choice.rows, row) == choice.rows.end()) choice.rows.push_back(std::move(row));
        }
    }
    return choice;
}

void RealDevices::give_up() noexcept {
    usable_ = false;
    if (session_->store() != nullptr) session_->transport().abort();
}

template <class Fn>
auto RealDevices::with_world(const DeviceCheckOptions& options, Fn&& fn) {
    SP_ASSERT(usable_);
    auto at_hand = std::make_shared<WorldAtHand>();
    at_hand->session = session_;
    at_hand->faults = props::device_faults(options.faults);
    const auto leave = [&] {
        if (!usable_) props::end_or_leave(std::move(at_hand), kEnd_s, "the device memory of a layer");
    };
    try {
        auto result = std::forward<Fn>(fn)(*at_hand);
        leave();
        return result;
    } catch (...) {
        give_up();
        leave();
        throw;
    }
}

template <class Fn>
std::optional<Ended> RealDevices::ended_early(Doing doing, Fn&& fn) {
    SP_ASSERT(usable_);
    try {
        std::forward<Fn>(fn)();
        return std::nullopt;
    } catch (const gpu::StallError& stalled) {
        give_up();
        return Ended{.stall = stalled.stall(), .unfit = std::nullopt, .why = stalled.what()};
    } catch (const gpu::PlanMismatch& unfit) {
        // It is found before anything moves between ranks: only other processes are left waiting.
        if (session_->store() != nullptr) give_up();
        return Ended{.stall = std::nullopt, .unfit = unfit, .why = unfit.what()};
    } catch (const EnvironmentError& error) {
        if (doing == Doing::connect || !props::is_of_the_run(error)) throw;
        give_up();
        return Ended{.stall = std::nullopt, .unfit = std::nullopt, .why = error.what()};
    }
}

std::optional<Ended> RealDevices::connect(WorldAtHand& at_hand, const Model& model, const Plan& plan,
                                          const gpu::WorldOptions& options) {
    return ended_early(Doing::connect, [&] {
        at_hand.world = std::make_unique<DeviceWorld>(plan, model.checkpoint, *session_, options);
    });
}

gpu::WorldOptions RealDevices::world_options(const DeviceCheckOptions& options, const props::DeviceFaultSet& faults) {
    return {.arithmetic = options.arithmetic,
            .dispatcher = options.dispatcher,
            .grouped_gemm = options.grouped_gemm,
            .deadline_s = options.deadline_s,
            .faults = faults.calls ? &*faults.calls : nullptr,
            .plan_faults = faults.plans ? &*faults.plans : nullptr};
}

// One layer of this process's ranks; all ranks' outcome.
props::LayerShare RealDevices::run_layer(DeviceWorld& world, const Model& model, const Plan& judged, const Plan& plan,
                                         const StageRecord& stage, double deadline_s) {
    props::LayerShare share{.ranks = props::inputs_of(stage, *session_), .load_failure = {}};
    const gpu::DeviceLoadReport loaded = world.load(stage.layer);
    share.bytes_planned = loaded.bytes_planned;
    share.bytes_read = loaded.bytes_read;
    share.load_failure = props::judge_load_of(model, judged, world, plan, share.ranks);
    world.moe_layer(share.ranks, props::rows_of(stage));
    return props::exchange(std::move(share), session_->store(), session_->processes(), step_++, deadline_s);
}

// One layer, judged: all ranks' outcome.
void RealDevices::judge_layer(CheckReport& report, const oracle::Judge& judge, const Plan& judged, StageRecord& stage,
                              props::LayerShare share) const {
    const std::string name = layer_name(stage.layer) + ".moe";
    report.load.bytes_planned += share.bytes_planned;
    report.load.bytes_read += share.bytes_read;
    if (share.load_failure) report.load_ok = false;
    if (!report.failure) report.failure = std::move(share.load_failure);
    substitute(stage, share.ranks);
    report.verdict.layers.push_back(judge.judge_mlp(stage));
    if (!report.failure) report.failure = report.verdict.layers.back().failure;
    const ExpertMap experts = expert_map(judged, stage.layer);
    for (const MoeRank& rank : share.ranks) {
        if (!report.failure) report.failure = props::judge_dispatch(name, rank, experts, judged.config.router.top_k);
        if (!report.failure) report.failure = props::judge_arrival(name, rank, share.ranks, experts, judged);
    }
}

CheckReport RealDevices::check_layers(WorldAtHand& at_hand, const Model& model, const Plan& plan, const Batch& batch,
                                      const DeviceCheckOptions& options, std::int64_t first) {
    CheckReport report;
    const Plan& judged = options.judged_plan == nullptr ? plan : *options.judged_plan;
    sim::Forward forward{judged,
                         model.checkpoint,
                         batch,
                         {.arithmetic = options.arithmetic, .seed = options.seed, .faults = nullptr, .trace = nullptr}};
    if (const auto ended = connect(at_hand, model, plan, world_options(options, at_hand.faults))) {
        ended->put_into(report, layer_name(first) + ".moe");
        return report;
    }
    const oracle::Judge judge{model.config, model.checkpoint, batch, options.arithmetic};
    gpu::require_device_memory(plan, *session_, props::rows_of_ranks(plan, batch), options.arithmetic);
    std::int64_t done = 0;
    while (!forward.done()) {
        sim::StageOutcome stage = forward.next();
        SP_ASSERT(!stage.stall);
        if (options.progress) options.progress(++done, forward.num_stages());
        if (stage.record.kind != StageKind::layer || !plan.config.is_moe(stage.record.layer)) continue;
        props::LayerShare share;
        const auto ended = ended_early(Doing::run, [&] {
            share = run_layer(*at_hand.world, model, judged, plan, stage.record, options.deadline_s);
        });
        if (ended) {
            ended->put_into(report, layer_name(stage.record.layer) + ".moe");
            return report;
        }
        // Of every rank, for every process judges all of them; that takes a second reading.
        if (share.load_failure) {
            report.load.poison_left +=
                props::elements_unwritten(model.checkpoint, plan, at_hand.world->held_params(), options.faults);
        }
        judge_layer(report, judge, judged, stage.record, std::move(share));
    }
    return report;
}

CheckReport RealDevices::check(const Model& model, const Plan& plan, const Batch& batch,
                               const DeviceCheckOptions& options) {
    const std::optional<std::int64_t> first = plan.config.first_moe_layer();
    if (!first) return {};
    return with_world(options,
                      [&](WorldAtHand& at_hand) { return check_layers(at_hand, model, plan, batch, options, *first); });
}

std::optional<Mismatch> RealDevices::carry_layer(WorldAtHand& at_hand, const Model& model, const Plan& plan,
                                                 const Batch& batch, const DeviceCheckOptions& options,
                                                 std::uint64_t payload_seed, std::int64_t layer) {
    const std::string name = layer_name(layer) + ".moe";
    gpu::WorldOptions how = world_options(options, at_hand.faults);
    how.carries_only = true;
    if (const auto ended = connect(at_hand, model, plan, how)) return ended->as_mismatch(name);

    // Each row comes back times + 1 times: K copies, and where tp ranks add up partial sums as many from each of them.
    const std::int64_t times = plan.config.router.top_k * (dispatches_own_rows(plan) ? 1 : plan.dims.tp());
    constexpr std::int64_t kExactMax = 256;  // integers that bf16 holds
    const std::int64_t largest = std::max<std::int64_t>(kExactMax / (times + 1), 1);
    std::vector<MoeRank> ranks;
    for (const gpu::LocalRank& local : session_->local_ranks()) {
        if (local.rank.value() >= plan.world()) continue;
        MoeRank& rank = ranks.emplace_back();
        rank.rank = local.rank;
        rank.hidden = props::payload_of(plan, batch, local.rank, payload_seed, largest);
    }
    const auto ended = ended_early(Doing::run, [&] {
        at_hand.world->load(layer);
        at_hand.world->moe_layer(ranks, props::rows_of_ranks(plan, batch));
    });
    if (ended) return ended->as_mismatch(name);
    for (const MoeRank& rank : ranks) {
        if (auto bad = props::judge_carried(name, rank, times + 1)) return bad;
    }
    return std::nullopt;
}

std::optional<Mismatch> RealDevices::check_carrying(const Model& model, const Plan& plan, const Batch& batch,
                                                    const DeviceCheckOptions& options, std::uint64_t payload_seed) {
    const std::optional<std::int64_t> layer = plan.config.first_moe_layer();
    if (!layer) return std::nullopt;
    return with_world(options, [&](WorldAtHand& at_hand) {
        return carry_layer(at_hand, model, plan, batch, options, payload_seed, *layer);
    });
}

}  // namespace

std::unique_ptr<Devices> make_devices(const DevicesOptions& options) { return std::make_unique<RealDevices>(options); }

void require_one_process(const std::string& command) {
    const gpu::Processes processes = gpu::find_processes();
    if (processes.world == 1) return;
    throw InputError{{"command line", "--backend", "gpu",
                      command + " runs all ranks in one process, and must not be one of the " +
                          std::to_string(processes.world) + " that " + processes.launcher + " launched"}};
}

}  // namespace shardproof
