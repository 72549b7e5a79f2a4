// Progress: a bar on standard error, and only where that is a terminal.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "reports/command.hpp"

namespace shardproof::reports {

class Progress {
public:
    Progress(const Console& console, std::string what, std::int64_t steps);
    ~Progress();  // wipes the bar, so that what follows begins on a clean line
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void set(std::int64_t done);  // drawn at most ten times a second
    void add(std::int64_t steps) { set(done_ + steps); }

private:
    const Console* console_;
    std::string what_;
    std::int64_t steps_;
    std::int64_t done_ = 0;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point next_draw_;
};

}  // namespace shardproof::reports
