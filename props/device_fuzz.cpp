#include "props/device_fuzz.hpp"

#include <algorithm>
#include <exception>
#include <memory>

#include "oracle/model/error.hpp"
#include "props/cases.hpp"
#include "props/gen/traits.hpp"
#include "props/laws/device_laws.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {
namespace {

class DeviceFuzzer {
public:
    explicit DeviceFuzzer(const DeviceFuzzOptions& options) : options_{options}, devices_{options.made} {
        report_.seed = options.fuzz.seed;
        for (const DeviceLaw* law : device_laws_named(options.fuzz.law)) {
            if (law->dispatcher == "windows" && !options.windows) continue;
            chosen_.push_back(law);
            report_.laws[std::string{law->name}] = 0;
        }
        report_.laws[std::string{kNoCrash}] = 0;
        for (std::size_t t = 0; t < kNumTraits; ++t) report_.traits[std::string{name_of(static_cast<Trait>(t))}] = 0;
        static_cast<void>(devices());
    }

    FuzzReport try_laws() {
        const FuzzOptions& fuzz = options_.fuzz;
        Cases cases{fuzz.seed};
        constexpr std::int64_t kCasesByDefault = 1000;
        const std::int64_t most = fuzz.cases.value_or(fuzz.seconds ? INT64_MAX : kCasesByDefault);
        for (const Case& c : fuzz.replay) try_case(shrinkable_case(c));
        replay_corpus();
        while (fuzz.replay.empty() && report_.cases < most && clock_.seconds() < fuzz.seconds.value_or(1e18) &&
               static_cast<std::int64_t>(report_.failures.size()) < fuzz.failures_max)
            try_case(cases.next());
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
        return finished();
    }

private:
    Devices& devices() {
        if (!devices_) devices_ = std::make_shared<Devices>(options_.devices);
        return *devices_;
    }

    [[nodiscard]] bool fits(const Case& c) const {
        return c.layout.world() <= options_.devices.world && runs_on_devices(c.layout);
    }

    // What breaks `law` on a case with `plant` in it. After a stall, and after an exception that may have left the
    // devices in disorder, they are made anew.
    std::optional<Broken> broken_by(const Case& c, const Plant& plant, const DeviceLaw& law, bool* changed = nullptr) {
        if (!fits(c) || !law.applies(c)) return std::nullopt;
        try {
            Subject subject{c, plant};
            if (changed != nullptr) *changed = subject.is_planted();
            DeviceTry seen;
            const auto message = law.fn(subject, devices(), law.dispatcher, seen);
            if (seen.stalled) devices_.reset();
            if (!message) {
                report_.max_ratio = std::max(report_.max_ratio, seen.max_ratio);
                return std::nullopt;
            }
            return Broken{std::string{law.name}, *message};
        } catch (const EnvironmentError&) {
            throw;  // says nothing of the case
        } catch (const std::exception& error) {
            devices_.reset();
            return Broken{std::string{kNoCrash}, error.what()};
        }
    }

    // First, and counted apart.
    void replay_corpus() {
        FuzzReport counted = report_;
        for (const Case& c : options_.fuzz.corpus) try_case(shrinkable_case(c));
        counted.corpus = report_.cases - counted.cases;
        counted.failures = std::move(report_.failures);
        counted.max_ratio = report_.max_ratio;
        report_ = std::move(counted);
    }

    void try_case(const rc::Shrinkable<Case>& shrinkable) {
        const Case c = shrinkable.value();
        if (!fits(c)) return;
        ++report_.cases;
        ++report_.laws[std::string{kNoCrash}];
        const Traits traits = traits_of(c);
        for (std::size_t t = 0; t < kNumTraits; ++t) {
            if (traits.test(t)) ++report_.traits[std::string{name_of(static_cast<Trait>(t))}];
        }
        const bool moves = c.layout.ep > 1 && num_tokens(c) > 0;
        for (const DeviceLaw* law : chosen_) {
            if (!law->applies(c)) continue;
            ++report_.laws[std::string{law->name}];
            if (moves && law->name.ends_with(".layer"))
                ++report_.traits["rows between ranks by " + std::string{law->dispatcher}];
            const std::optional<Broken> broken = broken_by(c, options_.fuzz.plant, *law);
            if (!broken) continue;
            add_failure(shrinkable, *law, *broken);
            break;
        }
        show_progress();
    }

    void add_failure(const rc::Shrinkable<Case>& shrinkable, const DeviceLaw& law, const Broken& broken) {
        std::string message = broken.message;
        const Case smallest = shrunk(shrinkable, options_.fuzz.shrink_seconds, [&](const Case& c) {
            const std::optional<Broken> again = broken_by(c, options_.fuzz.plant, law);
            const bool same = again && again->law == broken.law;
            if (same) message = again->message;
            return same;
        });
        report_.failures.push_back({.law = broken.law,
                                    .original = print_case(shrinkable.value()),
                                    .shrunk = print_case(smallest),
                                    .message = message});
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
            for (const DeviceLaw* law : chosen_) {
                bool changed = false;
                const auto broken = broken_by(shrinkable.value(), mutant.plant, *law, &changed);
                found.cases_changed += changed && law == chosen_.front() ? 1 : 0;
                if (!changed || !broken || broken_by(shrinkable.value(), {}, *law)) continue;
                record_kill(shrinkable, mutant, *law, *broken, found);
                break;
            }
            found.seconds = clock.seconds();
        }
        return found;
    }

    void record_kill(const rc::Shrinkable<Case>& shrinkable, const Mutant& mutant, const DeviceLaw& law,
                     const Broken& broken, MutantReport& found) {
        found.killed = true;
        found.law = broken.law;
        found.message = broken.message;
        found.original = print_case(shrinkable.value());
        found.shrunk = print_case(shrunk(shrinkable, options_.fuzz.shrink_seconds, [&](const Case& c) {
            bool changed = false;
            const auto again = broken_by(c, mutant.plant, law, &changed);
            const bool same = changed && again && again->law == broken.law;
            if (same) found.message = again->message;
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
    std::shared_ptr<Devices> devices_;
    const Clock clock_;
    FuzzReport report_;
    std::vector<const DeviceLaw*> chosen_;
    std::string hunted_;
    double shown_at_ = 0;
};

}  // namespace

FuzzReport fuzz_devices(const DeviceFuzzOptions& options) {
    DeviceFuzzer fuzzer{options};
    return options.fuzz.mutants ? fuzzer.hunt_mutants() : fuzzer.try_laws();
}

}  // namespace shardproof::props
