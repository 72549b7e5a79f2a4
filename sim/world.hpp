// World: N virtual ranks in one thread. Each runs its own program as a coroutine; a collective is the only place where
// it waits; a seeded scheduler picks who goes next; one seed replays everything.
#pragma once
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/collective.hpp"
#include "sim/faults.hpp"
#include "sim/prng.hpp"
#include "sim/task.hpp"
#include "sim/trace.hpp"

namespace shardproof::sim {

// Why a run ended early. A deadlock is a result, not a hang.
struct Stall {
    enum class Kind : std::uint8_t { deadlock, mismatch };
    Kind kind{};
    struct Wait {
        Rank rank;
        std::string call;                // what it waits in: kind, dtype, bytes, group, purpose
        std::vector<Rank> absent;        // the peers that have not come
    };
    std::vector<Wait> waits;             // every waiting rank, by rank
    std::string message;                 // one line: first disagreement, or who waits for whom
};

class World;

// A rank's window on the world: the calls it may make. Every one suspends the caller until all members came.
class RankContext {
public:
    RankContext(World& world, Rank rank) : world_{&world}, rank_{rank} {}
    [[nodiscard]] Rank rank() const { return rank_; }

    struct Awaiter {
        World* world;
        Rank rank;
        CollectiveCall call;
        bool await_ready();
        void await_suspend(std::coroutine_handle<> program);
        void await_resume() const noexcept {}
    };
    [[nodiscard]] Awaiter post(const CollectiveCall& call) const { return Awaiter{world_, rank_, call}; }

private:
    World* world_;
    Rank rank_;
};

class World {
public:
    World(std::int64_t num_ranks, std::uint64_t seed);

    using Program = std::function<Task<void>(RankContext&)>;
    // Runs one program a rank to its end. nullopt: all ended. An exception of a rank's program ends the run and is
    // thrown on.
    std::optional<Stall> run(const Program& program);

    [[nodiscard]] std::int64_t num_ranks() const { return static_cast<std::int64_t>(ranks_.size()); }
    void set_faults(const Faults* faults) { faults_ = faults; }   // outlives the world; nullptr: none
    void set_trace(Trace* trace) { trace_ = trace; }              // appended to; nullptr: none

private:
    friend struct RankContext::Awaiter;
    struct RankState {
        std::coroutine_handle<> program;           // resumed when the pending call is done
        const CollectiveCall* pending = nullptr;   // in the suspended coroutine's frame
    };

    void arrive(Rank rank, const CollectiveCall& call, std::coroutine_handle<> program);
    void try_point_to_point(Rank rank);
    void try_group(Rank rank);
    void complete(std::span<const CollectiveCall* const> calls, std::span<const Rank> members);
    [[nodiscard]] Stall deadlock() const;

    std::vector<RankState> ranks_;
    std::vector<Rank> ready_;
    Prng prng_;
    std::optional<Stall> stall_;
    const Faults* faults_ = nullptr;
    Trace* trace_ = nullptr;
    std::unordered_map<std::uint64_t, std::size_t> waiting_;  // members that came, by the key of their group
    std::vector<const CollectiveCall*> calls_;  // scratch of try_group
};

}  // namespace shardproof::sim
