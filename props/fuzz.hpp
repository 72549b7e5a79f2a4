// Fuzz: random cases against every law, and mutants against the laws. A failure comes with the smallest case found that
// still breaks the same law, as one word that replays it.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "props/gen/case.hpp"
#include "props/laws/subject.hpp"

namespace shardproof::props {

struct FuzzProgress {
    std::int64_t cases = 0;
    double seconds = 0;
    std::int64_t failures = 0;
    std::string mutant;  // the one being hunted, if any
};

struct FuzzOptions {
    std::optional<double> seconds;  // stop after so long ...
    std::optional<std::int64_t> cases;  // ... or so many; neither: 1,000 cases
    std::uint64_t seed = 0;  // the same seed gives the same cases
    std::string law;  // a law's or a subject's name; empty: all
    std::vector<Case> corpus;  // try these first, with all chosen laws on each; their failures count, they do not
    std::vector<Case> replay;  // run these, with all chosen laws on each, instead of random ones
    std::optional<std::vector<std::string>> mutants;  // hunt these (empty list: all) instead of trying laws
    std::int64_t mutant_cases_max = 2000;  // a mutant that lives longer survives
    double shrink_seconds = 10;  // for one failure
    std::int64_t failures_max = 5;  // stop at so many
    Plant plant;  // goes into every case: how fuzz itself is tested
    std::function<void(const FuzzProgress&)> progress;  // a few times a second
};

struct FuzzFailure {
    std::string law;
    std::string original;  // case as drawn
    std::string shrunk;  // smallest found
    std::string message;  // of the shrunk case
};

struct MutantReport {
    std::string id;
    bool killed = false;
    std::string law;  // that killed it first; one that sees numbers against the oracle where there is one
    std::vector<std::string> other_laws;  // that kill the same case
    std::int64_t cases = 0;  // drawn until then, those that it leaves alone included
    std::int64_t cases_changed = 0;  // of these, where it changes something
    double seconds = 0;  // until then, without shrinking
    std::string original;
    std::string shrunk;
    std::string message;
};

struct FuzzReport {
    bool ok = true;
    std::uint64_t seed = 0;
    std::int64_t corpus = 0;  // cases of the corpus; all that follows is of the others, but for the failures
    std::int64_t cases = 0;
    double seconds = 0;  // the corpus included
    double cases_per_second = 0;
    std::int64_t unmutated = 0;  // cases of a hunt that were tried without a mutant: as many as the longest one drew
    std::map<std::string, std::int64_t> laws;  // cases that had something for it to look at; of a hunt, unmutated ones
    std::map<std::string, std::string> skipped_laws;  // by name why: those that cannot be tried here
    std::map<std::string, std::int64_t> traits;  // cases that have it; all traits are listed
    double max_ratio = 0;  // largest error / bound seen
    std::int64_t tokens = 0;  // judged in layers
    std::int64_t tokens_with_other_ids = 0;  // of these: legal because their score gap is within its bound
    std::vector<FuzzFailure> failures;
    std::vector<MutantReport> mutants;
};

// Throws InputError for an unknown law or mutant. What a case throws is a failure of law "no-crash". A hunt tries its
// cases without a mutant as well: a law that they break is a failure, whatever it says of mutants.
[[nodiscard]] FuzzReport fuzz(const FuzzOptions& options);

}  // namespace shardproof::props
