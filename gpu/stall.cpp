#include "gpu/stall.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/plan/rank_names.hpp"

namespace shardproof::gpu {
namespace {

// nullptr: not among them.
const Standing* find(const std::vector<Standing>& standings, Rank rank) {
    const auto found = std::ranges::find(standings, rank, &Standing::rank);
    return found == standings.end() ? nullptr : &*found;
}

std::string does(Rank absent, const StallScene& scene) {
    const Standing* its = find(scene.here, absent);
    if (its != nullptr) return its->call.empty() ? "has not called it" : "waits in " + its->call;
    its = find(*scene.elsewhere, absent);
    if (its == nullptr) return "has not called it, or does not wait for it";
    return its->call.empty() ? "waits in no collective" : "waits in " + its->call;
}

}  // namespace

StallError::StallError(DeviceStall stall) : std::runtime_error{stall.message}, stall_{std::move(stall)} {}

DeviceStall::Kind stall_kind(Trouble::Kind kind) {
    return kind == Trouble::Kind::mismatch ? DeviceStall::Kind::mismatch : DeviceStall::Kind::peer_lost;
}

std::string deadline_passed(double seconds) { return fmt::format("deadline of {:g} s passed", seconds); }

std::string_view prefix_of(DeviceStall::Kind kind) {
    switch (kind) {
        case DeviceStall::Kind::deadline:
            return "deadline passed";
        case DeviceStall::Kind::mismatch:
            return "mismatched collective";
        case DeviceStall::Kind::peer_lost:
            return "peer lost";
    }
    return "";
}

void add_absent(StallScene& scene) {
    if (!scene.elsewhere) return;
    for (DeviceStall::Wait& wait : scene.waits) {
        const Standing& mine = *find(scene.here, wait.rank);
        for (const Rank member : mine.group) {
            if (find(scene.here, member) != nullptr) continue;
            const Standing* said = find(*scene.elsewhere, member);
            if (said == nullptr || said->group != mine.group || said->number < mine.number)
                wait.absent.push_back(member);
        }
        std::ranges::sort(wait.absent);
    }
}

std::string describe(const StallScene& scene) {
    if (scene.waits.empty()) return "no rank waits in a collective: the kernels after them are not done";
    const auto knows = [](const DeviceStall::Wait& wait) { return !wait.absent.empty(); };
    const auto telling = std::ranges::find_if(scene.waits, knows);
    const DeviceStall::Wait& first = telling == scene.waits.end() ? scene.waits.front() : *telling;
    const std::string text = fmt::format("rank {} waits in {}", first.rank.value(), first.call);
    if (!first.absent.empty()) {
        const Rank absent = first.absent.front();
        return text +
               fmt::format(" for {}; rank {} {}", named_ranks(first.absent), absent.value(), does(absent, scene));
    }
    std::vector<Rank> unasked;
    for (const Rank member : find(scene.here, first.rank)->group) {
        if (!scene.elsewhere && find(scene.here, member) == nullptr) unasked.push_back(member);
    }
    return unasked.empty() ? text + " with all its members"
                           : text + fmt::format(" with {} of other processes", named_ranks(unasked));
}

}  // namespace shardproof::gpu
