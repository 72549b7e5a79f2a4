// Mutants: historic bugs planted on purpose, to test the tester. Each transforms a plan, a load plan, a dispatch plan
// or a collective; the product has no switch for them.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "props/laws/subject.hpp"

namespace shardproof::props {

// Where a mutant shows. Mutants are hunted without the laws that look at plans and routing alone, but for those that
// nothing else can see: a plan that is wrong, and for all that runs as right as another.
enum class Seen : std::uint8_t {
    by_output,        // against the oracle's numbers
    by_stall,         // as a run that does not end
    by_relation,      // each run is right by itself, and another that should agree does not
    by_bytes,         // in what ranks load or save, where what they compute with it is right
    by_statics_only,
};

struct Mutant {
    std::string_view id;           // "m03": the table of the bug list; a variant adds a word, "m22-swapped"
    std::string_view says;
    std::string_view modelled_on;  // where it happened: "DeepSpeed#7551"
    std::optional<Planted> (*plant)(const Healthy&);
    Seen seen = Seen::by_output;
    bool on_devices = false;       // its faults are among those that devices take
    bool needs_two_runs = false;   // or loads: the first, or one without dummy rows, is right
};

[[nodiscard]] std::span<const Mutant> mutants();

// Mutants of the bug list, or variants of them, that cannot be said of what runs here. `why` begins with what they are
// about.
struct LeftOut {
    std::string_view id;
    std::string_view why;
};
[[nodiscard]] std::span<const LeftOut> mutants_left_out();

// All for an empty list. An id names its variants as well. Throws InputError listing the ids when one names none.
// `option` is what the message calls them by.
[[nodiscard]] std::vector<const Mutant*> mutants_named(const std::vector<std::string>& ids,
                                                       std::string_view option = "--mutants");

}  // namespace shardproof::props
