// What every libFuzzer target holds its parser to: it takes the input, or refuses it by an error for its reader. Any
// other exception, a sanitizer's report, more than 2 s of processor time, or of 2 GiB (the driver's limit) ends the run
// and is a finding.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <utility>

#include "oracle/model/error.hpp"

namespace shardproof::fuzzers {

[[noreturn]] inline void finding(const char* what, std::string_view text = {}) {
    std::fprintf(stderr, "finding: %s: %.*s\n", what, static_cast<int>(text.size()), text.data());
    std::abort();
}

// Put at the start of a target. The driver's own limit is of the wall's clock, which a busy machine runs out of.
class InTwoSeconds {
public:
    InTwoSeconds() = default;
    InTwoSeconds(const InTwoSeconds&) = delete;
    InTwoSeconds& operator=(const InTwoSeconds&) = delete;
    ~InTwoSeconds() {
        if (std::clock() - begin_ > 2 * CLOCKS_PER_SEC) finding("more than 2 s of processor time");
    }

private:
    std::clock_t begin_ = std::clock();
};

// What `holds` of every input that is taken or refused. The check is no assert: it stands in every build.
inline void require(bool holds, const char* what) {
    if (!holds) finding(what);
}

inline void require_one_short_line(std::string_view message) {
    constexpr std::size_t kBytesMax = 4000;
    require(message.size() < kBytesMax, "a message as long as its input");
    for (const char c : message) {
        if ((c >= 0 && c < 0x20) || c == 0x7F) finding("a message with control characters", message);
    }
}

// Whether `parse` took its input.
template <class Parse>
bool taken(Parse&& parse) {
    try {
        std::forward<Parse>(parse)();
        return true;
    } catch (const InputError& error) {
        require_one_short_line(error.what());
    } catch (const EnvironmentError& error) {
        require_one_short_line(error.what());
    }
    return false;
}

[[nodiscard]] inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

}  // namespace shardproof::fuzzers
