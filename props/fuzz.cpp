#include "props/fuzz.hpp"

#include <algorithm>
#include <climits>
#include <exception>

#include "props/cases.hpp"
#include "props/gen/traits.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {

namespace {

// What breaks when `law` looks at a case with `plant` in it. Building it may crash as well. `changed`, if given, is set
// to whether the plant changes anything there.
std::optional<Broken> broken_by(const Case& c, const Plant& plant, const Law& law, bool* changed = nullptr) {
    try {
        Subject subject{c, plant};
        if (changed != nullptr) *changed = subject.is_planted();
        return try_law(law, subject);
    } catch (const std::exception& error) {
        return Broken{std::string{kNoCrash}, error.what()};
    }
}

class Fuzzer {
public:
    explicit Fuzzer(const FuzzOptions& options) : options_{options} {
        report_.seed = options.seed;
        for (const Law& law : laws()) chosen_.push_back(&law);
        if (!options.law.empty()) chosen_ = laws_named(options.law);
        for (std::size_t t = 0; t < kNumTraits; ++t) report_.traits[std::string{name_of(static_cast<Trait>(t))}] = 0;
        for (const Law* law : chosen_) report_.laws[std::string{law->name}] = 0;
        report_.laws[std::string{kNoCrash}] = 0;
    }

    FuzzReport try_laws() {
        Cases cases{options_.seed};
        constexpr std::int64_t kCasesByDefault = 1000;
        const std::int64_t most = options_.cases.value_or(options_.seconds ? INT64_MAX : kCasesByDefault);
        if (!options_.replay.empty()) {
            for (const Case& c : options_.replay) try_case(shrinkable_case(c), true);
        } else {
            replay_corpus();
            while (report_.cases < most && clock_.seconds() < options_.seconds.value_or(1e18) &&
                   static_cast<std::int64_t>(report_.failures.size()) < options_.failures_max)
                try_case(cases.next(), false);
        }
        report_.ok = report_.failures.empty();
        finish();
        return std::move(report_);
    }

    FuzzReport hunt_mutants() {
        std::int64_t most = 0;
        for (const Mutant* mutant : mutants_named(*options_.mutants)) {
            hunted_ = mutant->id;
            const std::int64_t before = report_.cases;
            report_.mutants.push_back(hunt(*mutant));
            report_.ok = report_.ok && report_.mutants.back().killed;
            most = std::max(most, report_.cases - before);
        }
        hunted_.clear();
        try_unmutated(most);
        report_.ok = report_.ok && report_.failures.empty();
        finish();
        return std::move(report_);
    }

private:
    void replay_corpus() {
        FuzzReport counted = report_;
        for (const Case& c : options_.corpus) {
            if (static_cast<std::int64_t>(report_.failures.size()) >= options_.failures_max) break;
            try_case(shrinkable_case(c), true);
        }
        counted.corpus = report_.cases;
        counted.failures = std::move(report_.failures);
        report_ = std::move(counted);
        corpus_seconds_ = clock_.seconds() - shrinking_seconds_;
    }

    // The cases that the hunts drew.
    void try_unmutated(std::int64_t most) {
        const std::int64_t drawn = report_.cases;
        Cases cases{options_.seed};
        while (report_.unmutated < most && static_cast<std::int64_t>(report_.failures.size()) < options_.failures_max) {
            try_case(cases.next(), true);
            ++report_.unmutated;
        }
        report_.cases = drawn;
    }

    void try_case(const rc::Shrinkable<Case>& shrinkable, bool all_laws) {
        const Case c = shrinkable.value();
        const std::int64_t case_idx = report_.cases++;
        ++report_.laws[std::string{kNoCrash}];
        try {
            Subject subject{c, options_.plant};
            for (std::size_t i = 0; i < chosen_.size(); ++i) {
                // Dear laws take turns, each on its own remainder of the case's index, unless they were asked for.
                const Law& law = *chosen_[i];
                const bool turn = (case_idx + static_cast<std::int64_t>(i)) % law.every == 0;
                if (!turn && !all_laws && options_.law.empty()) continue;
                const std::optional<Broken> broken = try_law(law, subject);
                if (broken || subject.looked()) ++report_.laws[std::string{law.name}];
                if (!broken) continue;
                add_failure(shrinkable, &law, *broken);
                // A replayed case tells of every law that it breaks.
                if (!all_laws || broken->law == kNoCrash) break;
            }
            note(c, subject);
        } catch (const std::bad_alloc&) {
            throw;  // says nothing of the case
        } catch (const std::exception& error) {
            add_failure(shrinkable, chosen_.front(), {std::string{kNoCrash}, error.what()});
        }
        show_progress();
    }

    void add_failure(const rc::Shrinkable<Case>& shrinkable, const Law* law, const Broken& broken) {
        const Clock shrinking;
        const Case smallest = shrunk(shrinkable, options_.shrink_seconds, [&](const Case& c) {
            const std::optional<Broken> again = broken_by(c, options_.plant, *law);
            return again && again->law == broken.law;
        });
        const std::optional<Broken> last = broken_by(smallest, options_.plant, *law);
        report_.failures.push_back({.law = broken.law,
                                    .original = print_case(shrinkable.value()),
                                    .shrunk = print_case(smallest),
                                    .message = last ? last->message : broken.message});
        shrinking_seconds_ += shrinking.seconds();
    }

    void note(const Case& c, const Subject& subject) {
        const CheckReport* run = subject.report_if_made();
        const Traits traits = run != nullptr && run->result ? traits_of(c, *run->result) : traits_of(c);
        for (std::size_t t = 0; t < kNumTraits; ++t) {
            if (traits.test(t)) ++report_.traits[std::string{name_of(static_cast<Trait>(t))}];
        }
        if (run == nullptr || !run->ok()) return;
        for (const LayerVerdict& layer : run->verdict.layers) {
            report_.max_ratio = std::max(report_.max_ratio, layer.max_ratio);
            if (!layer.name.starts_with("layers.")) continue;
            report_.tokens += layer.tokens;
            report_.tokens_with_other_ids += layer.tokens_with_other_ids;
        }
    }

    // Unless a law was asked for, none that needs no run hunts a mutant that shows in one.
    [[nodiscard]] bool hunts(const Law& law, const Mutant& mutant) const {
        return !options_.law.empty() || mutant.seen == Seen::by_statics_only || !law.is_static();
    }

    // Every law that breaks with the mutant and holds without it, those that see numbers first.
    std::vector<std::pair<const Law*, Broken>> kills_of(const Case& c, const Mutant& mutant, bool& changed) {
        std::vector<std::pair<const Law*, Broken>> kills;
        Subject mutated{c, mutant.plant};
        changed = mutated.is_planted();
        if (!changed) return kills;
        for (const Law* law : chosen_) {
            if (!hunts(*law, mutant)) continue;
            auto broken = try_law(*law, mutated);
            const bool known = broken && broken->law == kNoCrash &&
                               std::ranges::any_of(kills, [](const auto& k) { return k.second.law == kNoCrash; });
            if (!broken || known || broken_by(c, options_.plant, *law)) continue;
            // A fault that counts its calls may show only after other laws have run.
            if (const auto alone = broken_by(c, mutant.plant, *law); !alone || alone->law != broken->law) continue;
            kills.emplace_back(law, std::move(*broken));
        }
        std::ranges::stable_sort(kills, std::less<>{}, distance_from_output);
        return kills;
    }
    static int distance_from_output(const std::pair<const Law*, Broken>& kill) {
        if (kill.second.law == kNoCrash) return 4;
        switch (kill.first->kind) {
            case LawKind::output:
                return 0;
            case LawKind::ending:
                return 1;
            case LawKind::relation:
                return 2;
            case LawKind::loading:
                return 3;
            default:
                return 5;
        }
    }

    MutantReport hunt(const Mutant& mutant) {
        MutantReport found;
        found.id = mutant.id;
        const Clock clock;
        Cases cases{options_.seed};
        // After a kill that no number against the oracle shows, so many more cases may bring one that is nearer to it.
        constexpr std::int64_t kMoreCases = 100;
        std::int64_t last = options_.mutant_cases_max;
        for (std::int64_t i = 0; i < last && distance_ > 0; ++i) {
            const rc::Shrinkable<Case> shrinkable = cases.next();
            ++report_.cases;
            show_progress();
            bool changed = false;
            const auto kills = kills_of(shrinkable.value(), mutant, changed);
            if (!found.killed) {
                ++found.cases;
                found.cases_changed += changed ? 1 : 0;
                found.seconds = clock.seconds();
            }
            if (kills.empty() || distance_from_output(kills.front()) >= distance_) continue;
            if (!found.killed) last = std::min(last, i + kMoreCases);
            record_kill(shrinkable, kills, found);
        }
        if (found.killed) shrink_kill(mutant, found);
        distance_ = INT_MAX;
        return found;
    }

    void record_kill(const rc::Shrinkable<Case>& shrinkable, const std::vector<std::pair<const Law*, Broken>>& kills,
                     MutantReport& found) {
        found.killed = true;
        found.other_laws.clear();
        distance_ = distance_from_output(kills.front());
        killer_ = kills.front().first;
        found.law = kills.front().second.law;
        found.message = kills.front().second.message;
        found.original = print_case(shrinkable.value());
        for (const auto& kill : kills) {
            const bool known =
                kill.second.law == found.law || std::ranges::count(found.other_laws, kill.second.law) > 0;
            if (!known) found.other_laws.push_back(kill.second.law);
        }
        std::erase(found.other_laws, found.law);
    }

    void shrink_kill(const Mutant& mutant, MutantReport& found) {
        const Clock shrinking;
        const auto kills = [&](const Case& c) {
            bool changed = false;
            const std::optional<Broken> broken = broken_by(c, mutant.plant, *killer_, &changed);
            return changed && broken && broken->law == found.law && !broken_by(c, options_.plant, *killer_);
        };
        const Case smallest = shrunk(shrinkable_case(parse_case(found.original)), options_.shrink_seconds, kills);
        found.shrunk = print_case(smallest);
        if (const auto broken = broken_by(smallest, mutant.plant, *killer_)) found.message = broken->message;
        shrinking_seconds_ += shrinking.seconds();
    }

    void show_progress() {
        constexpr double kPeriod = 0.25;
        if (!options_.progress || clock_.seconds() < shown_at_ + kPeriod) return;
        shown_at_ = clock_.seconds();
        options_.progress({.cases = report_.cases,
                           .seconds = shown_at_,
                           .failures = static_cast<std::int64_t>(report_.failures.size()),
                           .mutant = hunted_});
    }

    void finish() {
        report_.seconds = clock_.seconds();
        const double trying = report_.seconds - corpus_seconds_ - shrinking_seconds_;
        report_.cases_per_second = trying > 0 ? static_cast<double>(report_.cases) / trying : 0;
    }

    const FuzzOptions& options_;
    const Clock clock_;
    FuzzReport report_;
    std::vector<const Law*> chosen_;
    std::string hunted_;
    const Law* killer_ = nullptr;
    int distance_ = INT_MAX;  // from an output, of the kill recorded
    double shown_at_ = 0;
    double corpus_seconds_ = 0;
    double shrinking_seconds_ = 0;
};

}  // namespace

FuzzReport fuzz(const FuzzOptions& options) {
    Fuzzer fuzzer{options};
    return options.mutants ? fuzzer.hunt_mutants() : fuzzer.try_laws();
}

}  // namespace shardproof::props
