// The three things that can go wrong besides a wrong answer: the input, the environment, and ourselves.
// A wrong answer is a Verdict, never an exception.
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace shardproof {

// Bad input: exit 2. what() is one line, "FILE: FIELD=VALUE: RULE", empty parts left out, control characters escaped.
class InputError : public std::runtime_error {
public:
    struct Parts {
        std::string file;   // path as the user gave it, or "command line"
        std::string field;  // option, JSON path or tensor name
        std::string value;  // what was found there
        std::string rule;   // what it must be
    };
    explicit InputError(Parts parts);
    [[nodiscard]] const Parts& parts() const { return parts_; }

private:
    Parts parts_;
};

// The environment lacks something: exit 3. `missing` says what and how much, `remedy` what to do.
class EnvironmentError : public std::runtime_error {
public:
    EnvironmentError(std::string_view missing, std::string_view remedy);
};

// A broken invariant of this program. Thrown by SP_ASSERT, in every build.
class BugError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

// Names and values come from files: `text` with control characters, quotes and backslashes escaped as in C,
// cut to `length_max` bytes with "..." at a character boundary.
[[nodiscard]] std::string printable(std::string_view text, std::size_t length_max = 200);

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace shardproof

// A macro only because it must quote its condition; never compiled out.
#define SP_ASSERT(condition) \
    (static_cast<bool>(condition) ? void() : ::shardproof::assertion_failed(#condition, __FILE__, __LINE__))
