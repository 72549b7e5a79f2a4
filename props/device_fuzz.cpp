#include "props/device_fuzz.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <span>
#include <utility>
#include <variant>

#include "oracle/model/error.hpp"
#include "props/cases.hpp"
#include "props/gen/traits.hpp"
#include "props/laws/device_laws.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"
#include "sim/plan/dispatch_plan.hpp"

namespace shardproof::props {
namespace {

struct Holds {};
struct DoesNotApply {};
// What came of one law on one case.
using Outcome = std::variant<DoesNotApply, Holds, Broken>;

const Broken* broken(const Outcome& outcome) { return std::get_if<Broken>(&outcome); }

[[noreturn]] void refuse_replay(const Case& c) {
    throw InputError{{"command line", "--replay", print_case(c),
                      "nothing was judged: none of the chosen laws applies to this case on devices"}};
}

// Whether a rank dispatches a row to another. Without sequence parallelism the ranks of a tp group record the same
// rows, and all of them travel: each rank dispatches its slice.
bool rows_cross(const Plan& plan, const StageRecord& stage) {
    if (stage.kind != StageKind::layer || !plan.config.is_moe(stage.layer) || plan.dims.ep() == 1) return false;
    const ExpertMap experts = expert_map(plan, stage.layer);
    const auto top_k = static_cast<std::size_t>(plan.config.router.top_k);
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        const std::vector<ExpertId>& ids = stage.ranks[static_cast<std::size_t>(r)].expert_ids;
        Run rows{0, static_cast<std::int64_t>(ids.size() / top_k)};
        if (!plan.dims.sequence_parallel())
            rows = chunk(rows.size(), plan.dims.tp(), plan.meshes.dense.coordinate(Rank{r}, Axis::tp));
        const std::int64_t me = plan.meshes.sparse.coordinate(Rank{r}, Axis::ep);
        const auto mine = std::span{ids}.subspan(static_cast<std::size_t>(rows.begin) * top_k,
                                                 static_cast<std::size_t>(rows.size()) * top_k);
        const auto is_elsewhere = [&](ExpertId expert) { return experts.home[expert.idx()].peer != me; };
        if (std::ranges::any_of(mine, is_elsewhere)) return true;
    }
    return false;
}

// What is special about a case, and what its run shows.
struct Shown {
    Traits traits;
    bool rows_cross = false;  // from rank to rank
};

// With what the virtual ranks' run shows, if it comes to its end: whether it must is not for devices to say.
Shown shown_by(const Case& c) {
    Shown shown{.traits = traits_of(c)};
    try {
        const Subject subject{c};
        const auto result =
            run_plan(subject.plan(), subject.model(), subject.batch(), c.arithmetic, c.scheduler_seed, nullptr);
        if (!result) return shown;
        shown.traits = traits_of(c, *result);
        const auto cross = [&](const StageRecord& stage) { return rows_cross(subject.plan(), stage); };
        shown.rows_cross = std::ranges::any_of(result->stages, cross);
    } catch (const std::exception&) {
        return {.traits = traits_of(c)};
    }
    return shown;
}

class DeviceFuzzer {
public:
    DeviceFuzzer(const DeviceFuzzOptions& options, std::unique_ptr<Devices> devices)
        : options_{options}, devices_{std::move(devices)} {
        report_.seed = options.fuzz.seed;
        choose_laws();
        report_.laws[std::string{kNoCrash}] = 0;
        for (std::size_t t = 0; t < kNumTraits; ++t) report_.traits[std::string{name_of(static_cast<Trait>(t))}] = 0;
    }

    FuzzReport try_laws() {
        const FuzzOptions& fuzz = options_.fuzz;
        try {
            for (const Case& c : fuzz.corpus) try_case(shrinkable_case(c), Counts::corpus);
            for (const Case& c : fuzz.replay) try_case(shrinkable_case(c), Counts::cases);
            Cases cases{fuzz.seed};
            constexpr std::int64_t kCasesByDefault = 1000;
            const std::int64_t most = fuzz.cases.value_or(fuzz.seconds ? INT64_MAX : kCasesByDefault);
            while (fuzz.replay.empty() && report_.cases < most && clock_.seconds() < fuzz.seconds.value_or(1e18) &&
                   static_cast<std::int64_t>(report_.failures.size()) < fuzz.failures_max && !lost_)
                try_case(cases.next(), Counts::cases);
        } catch (const EnvironmentError& error) {
            if (report_.failures.empty()) throw;
            report_.failures.back().message += std::string{"; the run ended there: "} + error.what();
        }
        require_judged();
        report_.ok = report_.failures.empty();
        return finished();
    }

    FuzzReport hunt_mutants() {
        for (const Mutant* mutant : mutants_named(*options_.fuzz.mutants)) {
            if (!mutant->on_devices) continue;
            hunted_ = mutant->id;
            report_.mutants.push_back(hunt(*mutant));
            report_.ok = report_.ok && report_.mutants.back().killed;
        }
        report_.ok = report_.ok && report_.failures.empty();
        return finished();
    }

private:
    enum class Counts : std::uint8_t { corpus, cases };

    // Those that were asked for and can run on these devices.
    void choose_laws() {
        report_.skipped_laws = laws_left_out(options_, *devices_);
        for (const DeviceLaw* law : device_laws_named(options_.fuzz.law, options_.dispatcher)) {
            if (report_.skipped_laws.contains(std::string{law->name})) continue;
            chosen_.push_back(law);
            report_.laws[std::string{law->name}] = 0;
            if (!law->multiplies) continue;
            report_.traits["rows between ranks by " + std::string{law->dispatcher}] = 0;
            for (const char* row : {"cutlass", "portable"}) report_.traits[std::string{"grouped GEMM by "} + row] = 0;
        }
    }

    // Those that a case broke are gone before others are made: both would not fit.
    Devices& devices() {
        if (devices_ && !devices_->usable()) devices_.reset();
        if (!devices_) devices_ = options_.make();
        return *devices_;
    }

    [[nodiscard]] static bool fits(const Case& c) { return c.layout.world() <= kDeviceWorldMax && runs_on_devices(c); }

    // What `law` says of a case with `plant` in it. An exception other than the environment's may have left the devices
    // in disorder: they are made anew.
    Outcome outcome_of(const Case& c, const Plant& plant, const DeviceLaw& law, bool* changed = nullptr) {
        if (!fits(c) || !law.applies(c)) return DoesNotApply{};
        try {
            Subject subject{c, plant};
            if (changed != nullptr) *changed = subject.is_planted();
            const DeviceHow how{
                .grouped_gemm = options_.grouped_gemm.empty() ? drawn_grouped_gemm(c) : options_.grouped_gemm,
                .deadline_s = options_.deadline_s};
            gemm_rows_.clear();
            if (law.multiplies) {
                GroupedGemmChoice choice = devices().grouped_gemm(subject.plan(), c.arithmetic, how.grouped_gemm);
                if (choice.why_not) return DoesNotApply{};
                gemm_rows_ = std::move(choice.rows);
            }
            DeviceSeen seen;
            const auto message = law.fn(subject, devices(), law, how, seen);
            if (message) return Broken{std::string{law.name}, *message};
            report_.max_ratio = std::max(report_.max_ratio, seen.max_ratio);
            report_.tokens += seen.tokens;
            report_.tokens_with_other_ids += seen.tokens_with_other_ids;
            return Holds{};
        } catch (const EnvironmentError&) {
            throw;  // says nothing of the case
        } catch (const std::exception& error) {
            devices_.reset();
            return Broken{std::string{kNoCrash}, error.what()};
        }
    }

    void try_case(const rc::Shrinkable<Case>& shrinkable, Counts counts) {
        const Case c = shrinkable.value();
        if (!fits(c) || lost_) return;
        const bool counted = counts == Counts::cases;
        ++(counted ? report_.cases : report_.corpus);
        if (counted) count_case(c);
        for (const DeviceLaw* law : chosen_) {
            const Outcome outcome = outcome_of(c, options_.fuzz.plant, *law);
            if (std::holds_alternative<DoesNotApply>(outcome)) continue;
            ++judged_;
            if (counted) count_law(*law);
            if (broken(outcome) == nullptr) continue;
            add_failure(shrinkable, *law, *broken(outcome));
            break;
        }
        show_progress();
    }

    void count_case(const Case& c) {
        ++report_.laws[std::string{kNoCrash}];
        const Shown shown = shown_by(c);
        rows_cross_ = shown.rows_cross;
        for (std::size_t t = 0; t < kNumTraits; ++t) {
            if (shown.traits.test(t)) ++report_.traits[std::string{name_of(static_cast<Trait>(t))}];
        }
        multiplied_by_.clear();
    }

    void count_law(const DeviceLaw& law) {
        ++report_.laws[std::string{law.name}];
        if (!law.multiplies) return;
        if (rows_cross_) ++report_.traits["rows between ranks by " + std::string{law.dispatcher}];
        for (const std::string& row : gemm_rows_) {
            if (std::ranges::find(multiplied_by_, row) != multiplied_by_.end()) continue;
            multiplied_by_.push_back(row);
            ++report_.traits["grouped GEMM by " + row];
        }
    }

    // The smallest case that breaks the same law. Where the devices cannot be made anew, the smallest found until then.
    template <class Breaks>
    Case smallest(const rc::Shrinkable<Case>& shrinkable, std::string& message, Breaks&& breaks) {
        const Case found = shrunk(shrinkable, options_.fuzz.shrink_seconds, [&](const Case& c) {
            if (lost_) return false;
            try {
                return breaks(c);
            } catch (const EnvironmentError& error) {
                lost_ = error.what();
                return false;
            }
        });
        if (lost_) message += " (shrunk no further: the devices are lost to this process: " + *lost_ + ")";
        return found;
    }

    void add_failure(const rc::Shrinkable<Case>& shrinkable, const DeviceLaw& law, const Broken& first) {
        std::string message = first.message;
        const Case c = smallest(shrinkable, message, [&](const Case& smaller) {
            const Outcome again = outcome_of(smaller, options_.fuzz.plant, law);
            const bool same = broken(again) != nullptr && broken(again)->law == first.law;
            if (same) message = broken(again)->message;
            return same;
        });
        report_.failures.push_back({.law = first.law,
                                    .original = print_case(shrinkable.value()),
                                    .shrunk = print_case(c),
                                    .message = message});
    }

    void require_judged() const {
        if (judged_ > 0) return;
        if (!options_.fuzz.replay.empty()) refuse_replay(options_.fuzz.replay.front());
        throw InputError{{"command line", options_.fuzz.law.empty() ? "--cases" : "--law",
                          options_.fuzz.law.empty() ? std::to_string(report_.cases) : options_.fuzz.law,
                          "nothing was judged: none of the chosen laws applies to a case that was tried"}};
    }

    MutantReport hunt(const Mutant& mutant) {
        MutantReport found;
        found.id = mutant.id;
        const Clock clock;
        Cases cases{options_.fuzz.seed};
        for (std::int64_t i = 0; i < options_.fuzz.mutant_cases_max && !found.killed; ++i) {
            const rc::Shrinkable<Case> shrinkable = cases.next();
            ++report_.cases;
            ++found.cases;
            show_progress();
            bool counted = false;
            for (const DeviceLaw* law : chosen_) {
                bool changed = false;
                const Outcome outcome = outcome_of(shrinkable.value(), mutant.plant, *law, &changed);
                found.cases_changed += changed && !counted ? 1 : 0;
                counted = counted || changed;
                if (!changed || broken(outcome) == nullptr) continue;
                const Outcome unmutated = outcome_of(shrinkable.value(), options_.fuzz.plant, *law);
                if (broken(unmutated) != nullptr) {
                    if (std::ssize(report_.failures) < options_.fuzz.failures_max)
                        add_failure(shrinkable, *law, *broken(unmutated));
                    continue;
                }
                record_kill(shrinkable, mutant, *law, *broken(outcome), found);
                break;
            }
            found.seconds = clock.seconds();
        }
        return found;
    }

    void record_kill(const rc::Shrinkable<Case>& shrinkable, const Mutant& mutant, const DeviceLaw& law,
                     const Broken& first, MutantReport& found) {
        found.killed = true;
        found.law = first.law;
        found.message = first.message;
        found.original = print_case(shrinkable.value());
        found.shrunk = print_case(smallest(shrinkable, found.message, [&](const Case& c) {
            bool changed = false;
            const Outcome again = outcome_of(c, mutant.plant, law, &changed);
            const bool same = changed && broken(again) != nullptr && broken(again)->law == first.law;
            if (same) found.message = broken(again)->message;
            return same;
        }));
    }

    void show_progress() {
        constexpr double kPeriod = 0.25;
        if (!options_.fuzz.progress || clock_.seconds() < shown_at_ + kPeriod) return;
        shown_at_ = clock_.seconds();
        options_.fuzz.progress({.cases = report_.cases,
                                .seconds = shown_at_,
                                .failures = static_cast<std::int64_t>(report_.failures.size()),
                                .mutant = hunted_});
    }

    FuzzReport finished() {
        report_.seconds = clock_.seconds();
        report_.cases_per_second = report_.seconds > 0 ? static_cast<double>(report_.cases) / report_.seconds : 0;
        return std::move(report_);
    }

    const DeviceFuzzOptions& options_;
    std::unique_ptr<Devices> devices_;
    const Clock clock_;
    FuzzReport report_;
    std::vector<const DeviceLaw*> chosen_;
    std::vector<std::string> gemm_rows_;  // of the outcome asked for last
    std::vector<std::string> multiplied_by_;  // of the case tried last
    bool rows_cross_ = false;  // of the case tried last
    std::int64_t judged_ = 0;  // laws on cases, the corpus included
    std::optional<std::string> lost_;  // why no devices can be made any more
    std::string hunted_;
    double shown_at_ = 0;
};

}  // namespace

void require_fuzzable(const DeviceFuzzOptions& options) {
    const std::vector<const DeviceLaw*> asked = device_laws_named(options.fuzz.law, options.dispatcher);
    for (const Case& c : options.fuzz.replay) {
        if (c.layout.world() > kDeviceWorldMax) {
            throw InputError{{"case", "world", std::to_string(c.layout.world()),
                              fmt::format("must be at most {}, as many ranks as devices run", kDeviceWorldMax)}};
        }
        if (std::ranges::none_of(asked, [&](const DeviceLaw* law) { return law->applies(c); })) refuse_replay(c);
    }
}

std::map<std::string, std::string> laws_left_out(const DeviceFuzzOptions& options, const Devices& devices) {
    std::map<std::string, std::string> left_out;
    std::string why_none;
    const std::vector<const DeviceLaw*> asked = device_laws_named(options.fuzz.law, options.dispatcher);
    for (const DeviceLaw* law : asked) {
        const auto why = devices.why_not(std::string{law->dispatcher});
        if (!why) continue;
        left_out[std::string{law->name}] = *why;
        why_none = fmt::format("law {}, dispatcher {}: {}", law->name, law->dispatcher, *why);
    }
    if (left_out.size() == asked.size()) throw EnvironmentError{why_none, "supply that, or try other laws"};
    return left_out;
}

FuzzReport fuzz_devices(const DeviceFuzzOptions& options, std::unique_ptr<Devices> devices) {
    require_fuzzable(options);
    DeviceFuzzer fuzzer{options, std::move(devices)};
    return options.fuzz.mutants ? fuzzer.hunt_mutants() : fuzzer.try_laws();
}

}  // namespace shardproof::props
