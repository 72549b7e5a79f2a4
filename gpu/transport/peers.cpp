#include "gpu/transport/peers.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "gpu/transport/store.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

std::string processes_text(const std::vector<std::int64_t>& processes, std::string_view one, std::string_view many) {
    return fmt::format("process{} {} {}", processes.size() == 1 ? "" : "es", fmt::join(processes, ", "),
                       processes.size() == 1 ? one : many);
}

std::string standing_key(Rank rank) { return fmt::format("stands/{}", rank.value()); }

}  // namespace

void Peers::called(std::span<const DeviceCall> calls) {
    if (store_ != nullptr) history_.add(calls);
}

std::optional<Trouble> Peers::trouble(Transport::Look look) {
    constexpr std::chrono::milliseconds kEvery{20};
    const auto now = std::chrono::steady_clock::now();
    if (store_ == nullptr || (look == Transport::Look::now_and_then && now < asked_ + kEvery)) return std::nullopt;
    asked_ = now;
    try {
        const std::vector<StoreClaim>& claims = history_.claims();
        const StoreNews news = store_->news(claims);
        // Who calls something else than this process gives up too: the cause comes first.
        if (news.conflict) {
            const StoreClaim& mine = claims.at(news.conflict->claim_idx);
            return Trouble{Trouble::Kind::mismatch,
                           fmt::format("call {} of the group differs, or one before it: {}, {}", mine.number, mine.text,
                                       news.conflict->text)};
        }
        if (!news.lost.empty()) return Trouble{.text = processes_text(news.lost, "is gone", "are gone")};
        if (!news.quitters.empty()) return Trouble{.text = processes_text(news.quitters, "gave up", "gave up")};
        return std::nullopt;
    } catch (const EnvironmentError& error) {
        return Trouble{.text = error.what()};
    }
}

void Peers::quit() noexcept {
    if (store_ != nullptr && !has_quit_) store_->quit();
    has_quit_ = true;
}

std::optional<std::vector<Standing>> Peers::last_words(std::span<const Standing> mine, std::span<const Rank> others,
                                                       double wait_s) noexcept {
    if (store_ == nullptr) return std::nullopt;
    try {
        for (const Standing& standing : mine) store_->set(key(standing_key(standing.rank)), pack(standing));
        // Whoever waits looks for quitters, and then says its own last words: before that, nobody else need tell.
        quit();
        std::vector<std::string> keys;
        for (const Rank rank : others) keys.push_back(key(standing_key(rank)));
        std::vector<Standing> found;
        for (const auto& bytes : store_->get_all(keys, wait_s)) {
            if (bytes) found.push_back(unpack_standing(*bytes));
        }
        return found;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "shardproof: asking the other processes where they stand: %s\n", error.what());
        return std::nullopt;
    }
}

}  // namespace shardproof::gpu
