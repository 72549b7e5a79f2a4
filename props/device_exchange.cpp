#include "props/device_exchange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "gpu/patience.hpp"
#include "gpu/stall.hpp"
#include "oracle/model/error.hpp"
#include "sim/plan/rank_names.hpp"

namespace shardproof::props {
namespace {

class Writer {
public:
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void value(const T& v) {
        const auto* from = reinterpret_cast<const std::byte*>(&v);
        bytes_.insert(bytes_.end(), from, from + sizeof(T));
    }
    template <class T>
    void list(const std::vector<T>& items) {
        value(items.size());
        for (const T& item : items) value(item);
    }
    void text(const std::string& s) { list(std::vector<char>(s.begin(), s.end())); }
    [[nodiscard]] std::vector<std::byte> take() && { return std::move(bytes_); }

private:
    std::vector<std::byte> bytes_;
};

class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_{bytes} {}
    template <class T>
    void value(T& v) {
        SP_ASSERT(bytes_.size() >= sizeof(T));
        std::memcpy(&v, bytes_.data(), sizeof(T));
        bytes_ = bytes_.subspan(sizeof(T));
    }
    template <class T>
    void list(std::vector<T>& items) {
        std::size_t count = 0;
        value(count);
        SP_ASSERT(count <= bytes_.size());
        items.resize(count);
        for (T& item : items) value(item);
    }
    void text(std::string& s) {
        std::vector<char> letters;
        list(letters);
        s.assign(letters.begin(), letters.end());
    }
    [[nodiscard]] bool at_end() const { return bytes_.empty(); }

private:
    std::span<const std::byte> bytes_;
};

// One description for both directions: what is written is what is read.
template <class Archive, class Ranked>
void visit_rank(Archive& archive, Ranked& rank) {
    archive.value(rank.rank);
    archive.list(rank.expert_ids);
    archive.list(rank.expert_weights);
    archive.value(rank.output.cols);
    archive.list(rank.output.values);
    archive.value(rank.dispatched);
    archive.list(rank.dispatched_ids);
    archive.value(rank.dispatch.top_k);
    archive.list(rank.dispatch.rows_to_peer);
    archive.list(rank.dispatch.rows_to_expert);
    archive.list(rank.dispatch.slot_token);
    archive.list(rank.dispatch.slot_choice);
    archive.list(rank.dispatch.slot_of);
    archive.list(rank.expert_begin);
}
template <class Archive, class Missed>
void visit_mismatch(Archive& archive, Missed& mismatch) {
    archive.text(mismatch.layer);
    archive.value(mismatch.rank);
    archive.list(mismatch.coordinate);
    archive.value(mismatch.got);
    archive.value(mismatch.want);
    archive.value(mismatch.bound);
    archive.text(mismatch.why);
}

std::string key_of(std::int64_t step, std::int64_t rank) {
    return "layer/" + std::to_string(step) + "/" + std::to_string(rank);
}

gpu::StallError peers_lost(std::int64_t me, const std::vector<Rank>& absent, std::int64_t step,
                           const std::string& cause) {
    gpu::DeviceStall stall{.kind = gpu::DeviceStall::Kind::peer_lost, .waits = {}, .message = {}};
    stall.waits.push_back({.rank = Rank{me}, .call = "results of step " + std::to_string(step), .absent = absent});
    stall.message = fmt::format("{}: {}: rank {} waits for the results of {}", gpu::prefix_of(stall.kind), cause, me,
                                named_ranks(absent));
    return gpu::StallError{std::move(stall)};
}

// Why the shares of these processes will not come any more; nullopt: they may.
std::optional<std::string> why_gone(gpu::Store& store, const std::vector<Rank>& absent) {
    const gpu::StoreNews news = store.news();
    const auto among = [&](const std::vector<std::int64_t>& processes) {
        return std::ranges::find_if(absent, [&](Rank r) { return std::ranges::count(processes, r.value()) > 0; });
    };
    for (const auto& [processes, did] :
         {std::pair{&news.lost, "is gone"}, std::pair{&news.quitters, "gave up"}, std::pair{&news.left, "has left"}}) {
        const auto found = among(*processes);
        if (found != absent.end()) return fmt::format("process {} {}", found->value(), did);
    }
    return std::nullopt;
}

// Tells `mine`, and returns one share of each process, in order. Throws StallError.
std::vector<std::vector<std::byte>> shares_of_all(std::vector<std::byte> mine, gpu::Store& store,
                                                  const gpu::Processes& processes, std::int64_t step,
                                                  double deadline_s) {
    constexpr double kSlice_s = 0.1;  // between looks at who is gone
    const auto deadline = gpu::moment_in(deadline_s);
    std::vector<std::vector<std::byte>> shares(static_cast<std::size_t>(processes.world));
    std::vector<Rank> absent;
    for (std::int64_t r = 0; r < processes.world; ++r) {
        if (r != processes.rank) absent.emplace_back(r);
    }
    std::optional<std::string> gone;
    try {
        store.set(key_of(step, processes.rank), mine);
        shares[static_cast<std::size_t>(processes.rank)] = std::move(mine);
        while (true) {
            std::vector<std::string> keys;
            for (const Rank rank : absent) keys.push_back(key_of(step, rank.value()));
            // Once more after somebody was found gone: its share may have come just before.
            auto found = store.get_all(keys, gone ? 0 : kSlice_s);
            std::vector<Rank> still_absent;
            for (std::size_t i = 0; i < found.size(); ++i) {
                if (found[i])
                    shares[absent[i].idx()] = *std::move(found[i]);
                else
                    still_absent.push_back(absent[i]);
            }
            absent = std::move(still_absent);
            if (absent.empty()) return shares;
            if (gone) throw peers_lost(processes.rank, absent, step, *gone);
            gone = why_gone(store, absent);
            if (!gone && std::chrono::steady_clock::now() >= deadline) gone = gpu::deadline_passed(deadline_s);
        }
    } catch (const EnvironmentError& error) {
        throw peers_lost(processes.rank, absent, step, error.what());
    }
}

}  // namespace

std::vector<std::byte> pack(const LayerShare& share) {
    Writer writer;
    writer.value(share.ranks.size());
    for (const gpu::MoeRank& rank : share.ranks) visit_rank(writer, rank);
    writer.value(share.bytes_planned);
    writer.value(share.bytes_read);
    writer.value(share.load_failure.has_value());
    if (share.load_failure) visit_mismatch(writer, *share.load_failure);
    return std::move(writer).take();
}

LayerShare unpack(std::span<const std::byte> bytes) {
    Reader reader{bytes};
    LayerShare share;
    std::size_t count = 0;
    reader.value(count);
    for (std::size_t i = 0; i < count; ++i) visit_rank(reader, share.ranks.emplace_back());
    reader.value(share.bytes_planned);
    reader.value(share.bytes_read);
    bool failed = false;
    reader.value(failed);
    if (failed) visit_mismatch(reader, share.load_failure.emplace());
    SP_ASSERT(reader.at_end());
    return share;
}

LayerShare exchange(LayerShare mine, gpu::Store* store, const gpu::Processes& processes, std::int64_t step,
                    double deadline_s) {
    if (store == nullptr) return mine;
    LayerShare all;
    for (const std::vector<std::byte>& bytes : shares_of_all(pack(mine), *store, processes, step, deadline_s)) {
        LayerShare share = unpack(bytes);
        std::ranges::move(share.ranks, std::back_inserter(all.ranks));
        all.bytes_planned += share.bytes_planned;
        all.bytes_read += share.bytes_read;
        if (!all.load_failure) all.load_failure = std::move(share.load_failure);
    }
    // Who tells its share of this step has read all of the step before.
    store->remove(key_of(step - 1, processes.rank));
    return all;
}

}  // namespace shardproof::props
