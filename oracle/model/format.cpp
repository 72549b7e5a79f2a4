// The body of fmt, compiled once: its header-only form would be compiled again in every source that formats a number.
#include <fmt/format-inl.h>
