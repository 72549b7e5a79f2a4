#include "gpu/transport/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>

#include "gpu/transport/store_server.hpp"
#include "gpu/transport/store_wire.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

// What an answer may take beyond what the request itself waits for.
constexpr double kGrace_s = 5;
// How long process 0 keeps the store for the others when it has no more use for it itself.
constexpr double kLinger_s = 10;

[[noreturn]] void fail(const Processes& processes, std::string_view why) {
    throw EnvironmentError{
        fmt::format("the store of process 0 at {}:{} cannot be used by process {}: {}", printable(processes.store_host),
                    processes.store_port, processes.rank, why),
        "see that process 0 runs and that the port is free and reachable; MASTER_ADDR and MASTER_PORT choose it"};
}

StoreReply reply_of(FrameReader& reader) {
    const std::uint8_t byte = reader.byte();
    if (byte > static_cast<std::uint8_t>(StoreReply::refused)) throw WireError{"it speaks another protocol"};
    return static_cast<StoreReply>(byte);
}

std::vector<std::int64_t> processes_in(FrameReader& reader) {
    std::vector<std::int64_t> processes(reader.number());
    for (std::int64_t& process : processes) process = static_cast<std::int64_t>(reader.number());
    return processes;
}

std::vector<std::byte> to_vector(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

std::uint64_t milliseconds(double seconds) {
    return static_cast<std::uint64_t>(milliseconds_until(after_seconds(seconds)));
}

// The server's answer to who we are. Throws WireError where it is no store of ours.
void introduce(const Socket& socket, const Processes& processes, StoreClock::time_point deadline) {
    FrameWriter hello{StoreOp::hello};
    hello.text(kStoreMagic)
        .number(static_cast<std::uint64_t>(processes.rank))
        .number(static_cast<std::uint64_t>(processes.world))
        .text(processes.run);
    send_frame(socket, hello.frame(), deadline);
    const std::vector<std::byte> answer = receive_frame(socket, deadline);
    FrameReader reader{answer};
    const StoreReply reply = reply_of(reader);
    if (reader.text() != kStoreMagic) throw WireError{"it speaks another protocol"};
    if (reply != StoreReply::ok) throw WireError{reader.text()};
}

Socket reach(const Processes& processes, StoreClock::time_point deadline) {
    auto pause = std::chrono::milliseconds{10};
    while (true) {
        if (auto socket = connect_to(processes.store_host, processes.store_port, deadline)) {
            introduce(*socket, processes, deadline);
            return std::move(*socket);
        }
        if (StoreClock::now() >= deadline) throw WireError{"nobody listens there"};
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, std::chrono::milliseconds{200});
    }
}

}  // namespace

struct Store::Impl {
    Processes processes;
    double deadline_s;
    int num_exceptions = std::uncaught_exceptions();
    std::unique_ptr<StoreServer> server;  // process 0
    std::mutex mutex;                     // one request at a time
    Socket socket;
    bool broken = false;                  // an answer may still be under way: nothing more can be asked

    std::vector<std::byte> ask(const FrameWriter& request, double wait_s) {
        const std::scoped_lock lock{mutex};
        if (broken) fail(processes, "it failed before");
        try {
            send_frame(socket, request.frame(), after_seconds(deadline_s));
            return receive_frame(socket, after_seconds(wait_s));
        } catch (const WireError& error) {
            broken = true;
            fail(processes, error.what());
        }
    }
};

Store::Store(const Processes& processes, double deadline_s) : impl_{std::make_unique<Impl>()} {
    impl_->processes = processes;
    impl_->deadline_s = deadline_s;
    try {
        if (processes.rank == 0)
            impl_->server = std::make_unique<StoreServer>(processes, std::min(deadline_s, kLinger_s));
        // Process 0 asks like everybody else, over the loopback interface where it can.
        impl_->socket = reach(processes, after_seconds(deadline_s));
    } catch (const WireError& error) {
        fail(processes, error.what());
    }
}

Store::~Store() {
    if (std::uncaught_exceptions() > impl_->num_exceptions) quit();
    try {
        if (!impl_->broken) send_frame(impl_->socket, FrameWriter{StoreOp::bye}.frame(), after_seconds(1));
    } catch (const WireError&) {  // NOLINT(bugprone-empty-catch): for the reason below
        // The store is gone: there is nobody to say farewell to.
    }
}

void Store::set(std::string_view key, std::span<const std::byte> value) {
    (void)impl_->ask(FrameWriter{StoreOp::set}.text(key).bytes(value), impl_->deadline_s);
}

std::optional<std::vector<std::byte>> Store::get(std::string_view key, double deadline_s) {
    const std::vector<std::byte> answer =
        impl_->ask(FrameWriter{StoreOp::get}.text(key).number(milliseconds(deadline_s)), deadline_s + kGrace_s);
    FrameReader reader{answer};
    if (reply_of(reader) != StoreReply::ok) return std::nullopt;
    return to_vector(reader.bytes());
}

std::vector<std::optional<std::vector<std::byte>>> Store::get_all(const std::vector<std::string>& keys,
                                                                  double deadline_s) {
    const StoreClock::time_point deadline = after_seconds(deadline_s);
    std::vector<std::optional<std::vector<std::byte>>> values;
    values.reserve(keys.size());
    for (const std::string& key : keys) {
        const std::chrono::duration<double> left = deadline - StoreClock::now();
        values.push_back(left.count() > 0 ? get(key, left.count()) : peek(key));
    }
    return values;
}

std::optional<std::vector<std::byte>> Store::peek(std::string_view key) {
    const std::vector<std::byte> answer = impl_->ask(FrameWriter{StoreOp::peek}.text(key), impl_->deadline_s);
    FrameReader reader{answer};
    if (reply_of(reader) != StoreReply::ok) return std::nullopt;
    return to_vector(reader.bytes());
}

void Store::remove(std::string_view key) {
    (void)impl_->ask(FrameWriter{StoreOp::remove}.text(key), impl_->deadline_s);
}

StoreNews Store::news(std::span<const StoreClaim> claims) {
    FrameWriter request{StoreOp::news};
    request.number(claims.size());
    for (const StoreClaim& claim : claims) {
        request.text(claim.key).number(static_cast<std::uint64_t>(claim.number)).number(claim.hash).text(claim.text);
    }
    const std::vector<std::byte> answer = impl_->ask(request, impl_->deadline_s);
    FrameReader reader{answer};
    (void)reply_of(reader);
    StoreNews news{
        .lost = processes_in(reader), .quitters = processes_in(reader), .left = processes_in(reader), .conflict = {}};
    if (reader.number() == 0) return news;
    StoreNews::Conflict& conflict = news.conflict.emplace();
    conflict.claim_idx = reader.number();
    conflict.process = static_cast<std::int64_t>(reader.number());
    conflict.text = reader.text();
    return news;
}

void Store::quit() noexcept {
    try {
        (void)impl_->ask(FrameWriter{StoreOp::quit}, kGrace_s);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): for the reason below
        // The store is gone, and with it process 0: the others learn of that by themselves.
    }
}

std::optional<std::vector<std::int64_t>> Store::barrier(std::string_view name, double deadline_s) {
    SP_ASSERT(!name.empty());
    const std::vector<std::byte> answer =
        impl_->ask(FrameWriter{StoreOp::barrier}.text(name).number(milliseconds(deadline_s)), deadline_s + kGrace_s);
    FrameReader reader{answer};
    if (reply_of(reader) == StoreReply::ok) return std::nullopt;
    return processes_in(reader);
}

}  // namespace shardproof::gpu
