#include "oracle/model/lost_pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>

namespace shardproof {

// A node of a list that only grows: the signal handler walks it without a lock. A node that no mapping uses has
// begin 0 and is used again.
struct LostPages::Range {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
    std::atomic<std::uintptr_t> lost{0};  // address of the first read that failed
    Range* next = nullptr;
};

struct LostPages::Handler {
    static inline std::atomic<Range*> ranges{nullptr};
    static inline std::mutex growing;
    static inline struct sigaction before{};
    static inline std::uintptr_t page_bytes = 0;

    static Range* free_range() {
        for (Range* range = ranges; range != nullptr; range = range->next) {
            if (range->begin == 0) return range;
        }
        auto* const range = new Range;  // never freed: a handler may stand on it
        range->next = ranges;
        ranges = range;
        return range;
    }

    // Zeros instead of what is gone, as one mapping: page by page a large file would run out of mappings.
    static bool put_zeros(Range& range, std::uintptr_t address) {
        const std::uintptr_t page = address / page_bytes * page_bytes;
        const std::uintptr_t end = range.end;
        std::uintptr_t none = 0;
        range.lost.compare_exchange_strong(none, address);
        void* const place = reinterpret_cast<void*>(page);
        return ::mmap(place, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
               place;
    }

    static void on_sigbus(int, siginfo_t* info, void*) {
        const int error = errno;
        const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
        bool is_ours = false;
        for (Range* range = ranges; range != nullptr && !is_ours; range = range->next) {
            const std::uintptr_t begin = range->begin;
            if (begin != 0 && begin <= address && address < range->end) is_ours = put_zeros(*range, address);
        }
        // The read comes again, and ends as it would have without us.
        if (!is_ours) ::sigaction(SIGBUS, &before, nullptr);
        errno = error;
    }

    static void install() {
        static std::once_flag once;
        std::call_once(once, [] {
            page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
            struct sigaction action{};
            action.sa_sigaction = &on_sigbus;
            action.sa_flags = SA_SIGINFO | SA_RESTART;
            sigemptyset(&action.sa_mask);
            ::sigaction(SIGBUS, &action, &before);
        });
    }
};

LostPages::LostPages(std::span<const std::byte> mapping) {
    Handler::install();
    const std::scoped_lock lock{Handler::growing};
    range_ = Handler::free_range();
    const auto begin = reinterpret_cast<std::uintptr_t>(mapping.data());
    range_->lost = 0;
    range_->end = begin + mapping.size();
    range_->begin = begin;
}

void LostPages::stop() {
    if (range_ == nullptr) return;
    range_->begin = 0;
    range_ = nullptr;
}

std::optional<std::uint64_t> LostPages::lost() const {
    if (range_ == nullptr || range_->lost == 0) return std::nullopt;
    return range_->lost - range_->begin;
}

}  // namespace shardproof
