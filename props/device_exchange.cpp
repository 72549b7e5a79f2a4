#include "props/device_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "oracle/model/error.hpp"

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

gpu::StallError peers_lost(std::int64_t me, const std::vector<Rank>& absent, std::int64_t step) {
    gpu::DeviceStall stall{.kind = gpu::DeviceStall::Kind::peer_lost, .waits = {}, .message = {}};
    stall.waits.push_back({.rank = Rank{me}, .call = "results of step " + std::to_string(step), .absent = absent});
    std::string names;
    for (const Rank rank : absent) names += (names.empty() ? "" : ", ") + std::to_string(rank.value());
    stall.message = "rank " + std::to_string(me) + " waits for the results of rank " + names;
    return gpu::StallError{std::move(stall)};
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
    store->set(key_of(step, processes.rank), pack(mine));
    std::vector<std::string> keys;
    for (std::int64_t r = 0; r < processes.world; ++r) keys.push_back(key_of(step, r));
    const auto found = store->get_all(keys, deadline_s);
    LayerShare all;
    std::vector<Rank> absent;
    for (std::size_t r = 0; r < found.size(); ++r) {
        if (!found[r]) {
            absent.emplace_back(static_cast<std::int64_t>(r));
            continue;
        }
        LayerShare share = unpack(*found[r]);
        std::ranges::move(share.ranks, std::back_inserter(all.ranks));
        all.bytes_planned += share.bytes_planned;
        all.bytes_read += share.bytes_read;
        if (!all.load_failure) all.load_failure = std::move(share.load_failure);
    }
    if (!absent.empty()) throw peers_lost(processes.rank, absent, step);
    // Who tells its share of this step has read all of the step before.
    store->remove(key_of(step - 1, processes.rank));
    return all;
}

}  // namespace shardproof::props
