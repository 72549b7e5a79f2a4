// Mutants: historic bugs planted on purpose, to test the tester. Each transforms a plan, a load plan, a dispatch plan
// or a collective; the product has no switch for them.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "props/laws/subject.hpp"

namespace shardproof::props {

struct Mutant {
    std::string_view id;           // "m03": the table of the bug list; a variant adds a word, "m22-swapped"
    std::string_view says;
    std::string_view modelled_on;  // where it happened: "DeepSpeed#7551"
    std::optional<Planted> (*plant)(const Healthy&);
};

[[nodiscard]] std::span<const Mutant> mutants();
// All for an empty list. An id names its variants as well. Throws InputError listing the ids when one names none.
// `option` is what the message calls them by.
[[nodiscard]] std::vector<const Mutant*> mutants_named(const std::vector<std::string>& ids,
                                                       std::string_view option = "--mutants");

}  // namespace shardproof::props
