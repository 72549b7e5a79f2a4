#include "gpu/transport/store_server.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <list>
#include <optional>
#include <thread>
#include <vector>

#include "gpu/transport/store_book.hpp"
#include "gpu/transport/store_wire.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

struct Client {
    Socket socket;
    std::vector<std::byte> received;  // no whole frame
    std::vector<std::byte> to_send;
    std::size_t num_sent = 0;         // of to_send
    std::int64_t process = -1;        // -1: has not said who it is
    bool closing = false;             // after what is still to be sent
};

}  // namespace

struct StoreServer::Impl {
    Impl(const Processes& self, double linger)
        : listener{listen_on(self.store_host, self.store_port)},
          wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
          world{self.world},
          run{self.run},
          linger_s{linger} {
        if (!wake.open()) throw WireError{std::strerror(errno)};
        thread = std::thread{[this] { serve(); }};
    }

    Socket listener;
    Socket wake;
    std::int64_t world;
    std::string run;
    double linger_s;
    std::atomic<bool> stop = false;
    std::list<Client> clients;  // addresses stay
    StoreBook book{world, [this](std::int64_t process, const FrameWriter& reply) { answer(process, reply); }};
    std::thread thread;

    void serve();
    void accept_client();
    void read_from(Client& client);
    void write_to(Client& client);
    void answer(std::int64_t process, const FrameWriter& reply);
    void answer(Client& client, const FrameWriter& reply);
    void handle(Client& client, FrameReader request);
    void handle_frames(Client& client);
    void greet(Client& client, FrameReader& request);
    void remove(const Client& client);
    void attend(const std::vector<Client*>& clients_in_order, const std::vector<pollfd>& polled);
    [[nodiscard]] int poll_timeout(StoreClock::time_point stop_deadline) const;
    [[nodiscard]] bool deserted() const;
};

void StoreServer::Impl::answer(std::int64_t process, const FrameWriter& reply) {
    const auto client = std::ranges::find(clients, process, &Client::process);
    if (client != clients.end()) answer(*client, reply);
}

void StoreServer::Impl::answer(Client& client, const FrameWriter& reply) {
    const std::vector<std::byte> frame = reply.frame();
    client.to_send.insert(client.to_send.end(), frame.begin(), frame.end());
    write_to(client);
}

void StoreServer::Impl::write_to(Client& client) {
    while (client.num_sent < client.to_send.size()) {
        const ssize_t count = send(client.socket.fd(), client.to_send.data() + client.num_sent,
                                   client.to_send.size() - client.num_sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (count < 0) {
            client.closing = true;
            break;
        }
        client.num_sent += static_cast<std::size_t>(count);
    }
    client.to_send.clear();
    client.num_sent = 0;
}

void StoreServer::Impl::read_from(Client& client) {
    std::array<std::byte, 1 << 16> chunk{};
    while (!client.closing) {
        const ssize_t count = recv(client.socket.fd(), chunk.data(), chunk.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (count <= 0) {
            client.closing = true;
            break;
        }
        client.received.insert(client.received.end(), chunk.begin(), chunk.begin() + count);
        if (count < static_cast<ssize_t>(chunk.size())) break;
    }
    handle_frames(client);
}

void StoreServer::Impl::handle_frames(Client& client) {
    std::span<const std::byte> rest{client.received};
    constexpr std::size_t kLengthBytes = 4;
    constexpr std::size_t kStrangerBytesMax = 512;  // before a client said who it is
    while (const auto length = frame_length(rest)) {
        if (*length == 0 || *length > (client.process < 0 ? kStrangerBytesMax : kFrameBytesMax)) {
            client.closing = true;
            break;
        }
        if (rest.size() < kLengthBytes + *length) break;
        try {
            handle(client, FrameReader{rest.subspan(kLengthBytes, *length)});
        } catch (const WireError&) {
            client.closing = true;
            break;
        }
        rest = rest.subspan(kLengthBytes + *length);
    }
    client.received.erase(client.received.begin(),
                          client.received.begin() + static_cast<std::ptrdiff_t>(client.received.size() - rest.size()));
}

void StoreServer::Impl::greet(Client& client, FrameReader& request) {
    const std::string magic = request.text();
    const auto process = static_cast<std::int64_t>(request.number());
    const auto their_world = static_cast<std::int64_t>(request.number());
    const std::string their_run = magic == kStoreMagic ? request.text() : "";
    const bool taken = std::ranges::any_of(clients, [&](const Client& c) { return c.process == process; });
    std::string why;
    if (magic != kStoreMagic)
        why = "it speaks another protocol";
    else if (their_world != world)
        why = fmt::format("it serves a run of {} processes, not {}", world, their_world);
    else if (their_run != run)
        why = fmt::format("it serves another run: {}, not {}", printable(run), printable(their_run));
    else if (process < 0 || process >= world)
        why = fmt::format("process {} is outside its run", process);
    else if (taken)
        why = fmt::format("process {} is connected already", process);
    if (!why.empty()) {
        answer(client, FrameWriter{StoreReply::refused}.text(kStoreMagic).text(why));
        client.closing = true;
        return;
    }
    client.process = process;
    answer(client, FrameWriter{StoreReply::ok}.text(kStoreMagic));
}

void StoreServer::Impl::handle(Client& client, FrameReader request) {
    const auto op = static_cast<StoreOp>(request.byte());
    if (op == StoreOp::hello) return greet(client, request);
    if (client.process < 0) throw WireError{"a stranger"};
    if (op != StoreOp::bye) return book.handle(client.process, op, request);
    book.farewell(client.process);
    client.closing = true;
}

void StoreServer::Impl::remove(const Client& client) {
    if (client.process >= 0) book.leave(client.process);
    clients.remove_if([&](const Client& c) { return &c == &client; });
}

void StoreServer::Impl::accept_client() {
    while (true) {
        Socket socket{accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!socket.open()) return;
        prepare_socket(socket);
        clients.emplace_back().socket = std::move(socket);
    }
}

// Those that have not come yet may still: they would wait for a store that is gone. A stranger does not count.
bool StoreServer::Impl::deserted() const {
    return book.num_departed() == world &&
           std::ranges::all_of(clients, [](const Client& c) { return c.process < 0 && c.to_send.empty(); });
}

int StoreServer::Impl::poll_timeout(StoreClock::time_point stop_deadline) const {
    auto earliest = book.earliest_deadline(StoreClock::now() + std::chrono::seconds{60});
    if (stop) earliest = std::min(earliest, stop_deadline);
    return milliseconds_until(earliest);
}

void StoreServer::Impl::attend(const std::vector<Client*>& clients_in_order, const std::vector<pollfd>& polled) {
    std::uint64_t count = 0;
    if (polled[0].revents != 0 && read(wake.fd(), &count, sizeof(count)) < 0) count = 0;
    if (polled[1].revents != 0) accept_client();
    for (std::size_t i = 0; i < clients_in_order.size(); ++i) {
        const short events = polled[i + 2].revents;
        if ((events & POLLOUT) != 0) write_to(*clients_in_order[i]);
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) read_from(*clients_in_order[i]);
    }
    for (const Client* client : clients_in_order) {
        if (client->closing && client->to_send.empty()) remove(*client);
    }
}

void StoreServer::Impl::serve() {
    prepare_socket(listener);
    std::optional<StoreClock::time_point> stop_deadline;
    while (true) {
        if (stop && !stop_deadline) stop_deadline = after_seconds(linger_s);
        if (stop_deadline && (deserted() || StoreClock::now() >= *stop_deadline)) return;
        std::vector<pollfd> polled{{.fd = wake.fd(), .events = POLLIN, .revents = 0},
                                   {.fd = listener.fd(), .events = POLLIN, .revents = 0}};
        std::vector<Client*> order;
        for (Client& client : clients) {
            const auto events = static_cast<short>(client.to_send.empty() ? POLLIN : POLLIN | POLLOUT);
            polled.push_back({.fd = client.socket.fd(), .events = events, .revents = 0});
            order.push_back(&client);
        }
        const int ready = poll(polled.data(), polled.size(), poll_timeout(stop_deadline.value_or(StoreClock::now())));
        if (ready < 0 && errno != EINTR) {
            std::fprintf(stderr, "shardproof: the store ends: %s\n", std::strerror(errno));
            return;
        }
        if (ready > 0) attend(order, polled);
        book.settle();
    }
}

StoreServer::StoreServer(const Processes& self, double linger_s) : impl_{std::make_unique<Impl>(self, linger_s)} {}

StoreServer::~StoreServer() {
    impl_->stop = true;
    const std::uint64_t one = 1;
    if (write(impl_->wake.fd(), &one, sizeof(one)) < 0) std::fprintf(stderr, "shardproof: the store does not wake\n");
    impl_->thread.join();
}

}  // namespace shardproof::gpu
