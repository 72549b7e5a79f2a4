// Law: what must hold of every case. One function a law; the table is what fuzz, tests and mutants iterate over.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "props/laws/subject.hpp"

namespace shardproof::props {

// What a law looks at.
enum class LawKind : std::uint8_t {
    placement,  // the plan alone
    routing,    // the routing that a run recorded, and the dispatch plans made of it
    loading,    // loaded bytes
    relation,  // a run against itself: its collectives, and another run that must have the same numbers, or known ones
    ending,  // that a run ends
    output,  // the numbers of a run against the oracle's
};

struct Law {
    std::string_view name;  // "layout.reassembles"
    std::string_view says;  // one line for --help and reports
    std::optional<std::string> (*fn)(Subject&);  // a message when broken
    LawKind kind{};
    std::int64_t every = 1;  // a fuzz run tries it on each every-th case: laws that load or run again are dear
    // Looks at plans and routing alone, never at what ranks loaded or computed.
    [[nodiscard]] bool is_static() const { return kind == LawKind::placement || kind == LawKind::routing; }
};

[[nodiscard]] std::span<const Law> laws();
// Those named so, or whose subject is named so ("layout"). Throws InputError listing the names when there is none.
[[nodiscard]] std::vector<const Law*> laws_named(std::string_view name);

// A case that throws breaks this one; it has no function.
inline constexpr std::string_view kNoCrash = "no-crash";

struct Broken {
    std::string law;
    std::string message;
};
// An exception of the law, or of building what it looks at, breaks kNoCrash. Subject::looked() says afterwards whether
// the law had anything to look at.
[[nodiscard]] std::optional<Broken> try_law(const Law& law, Subject& subject);

}  // namespace shardproof::props
