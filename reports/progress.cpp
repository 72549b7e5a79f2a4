#include "reports/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <utility>

namespace shardproof::reports {
namespace {

constexpr std::int64_t kBarWidth = 40;
constexpr std::chrono::milliseconds kBetweenDraws{100};

}  // namespace

Progress::Progress(const Console& console, std::string what, std::int64_t steps)
    : console_{&console}, what_{std::move(what)}, steps_{std::max<std::int64_t>(steps, 1)} {}

Progress::~Progress() {
    if (drawn_) console_->err << "\r\033[K" << std::flush;
}

void Progress::set(std::int64_t done) {
    done_ = std::min(done, steps_);
    if (!console_->err_is_terminal) return;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_draw_) return;
    next_draw_ = now + kBetweenDraws;
    drawn_ = true;
    const double share = static_cast<double>(done_) / static_cast<double>(steps_);
    const auto filled = static_cast<std::size_t>(share * kBarWidth);
    console_->err << fmt::format("\r{} [{}{}] {:3.0f} %", what_, std::string(filled, '#'),
                                 std::string(kBarWidth - filled, '.'), share * 100)
                  << std::flush;
}

}  // namespace shardproof::reports
