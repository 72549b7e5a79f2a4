// The demo's steps, on whatever checkpoint: plan, check, and a check that must fail because a fault is planted.
#pragma once
#include <filesystem>

#include "reports/command.hpp"

namespace shardproof::reports {

// Runs each step as a command line that a reader could type, shown before its answer. Exit 0 when the model holds and
// the planted fault is found.
[[nodiscard]] int show_demo(const std::filesystem::path& model, const Console& console);

}  // namespace shardproof::reports
