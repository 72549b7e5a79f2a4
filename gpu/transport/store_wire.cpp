#include "gpu/transport/store_wire.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstring>
#include <memory>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

constexpr std::size_t kLengthBytes = 4;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int answer = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (answer != 0) throw WireError{fmt::format("{} has no address ({})", printable(host), gai_strerror(answer))};
    return {found, &freeaddrinfo};
}

bool is_loopback(const sockaddr& address) {
    if (address.sa_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof(v4));
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    if (address.sa_family != AF_INET6) return false;
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
}

// Empty where the system refuses; errno says why.
Socket try_listen(const sockaddr* address, socklen_t length) {
    Socket socket{::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket.open()) return {};
    const int on = 1;
    const int off = 0;
    (void)setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->sa_family == AF_INET6) (void)setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(socket.fd(), address, length) != 0 || listen(socket.fd(), SOMAXCONN) != 0) return {};
    return socket;
}

// A client that retries a port which nobody listens on can be given that very port, and reach itself.
bool reached_itself(const Socket& socket) {
    std::array<sockaddr_storage, 2> ends{};
    std::array<socklen_t, 2> lengths{sizeof(sockaddr_storage), sizeof(sockaddr_storage)};
    if (getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&ends[0]), &lengths[0]) != 0) return false;
    if (getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&ends[1]), &lengths[1]) != 0) return false;
    return lengths[0] == lengths[1] && std::memcmp(&ends[0], &ends[1], lengths[0]) == 0;
}

bool connected_by(const Socket& socket, const addrinfo& address, StoreClock::time_point deadline) {
    if (connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) return !reached_itself(socket);
    if (errno != EINPROGRESS) return false;
    pollfd waiting{.fd = socket.fd(), .events = POLLOUT, .revents = 0};
    if (poll(&waiting, 1, milliseconds_until(deadline)) <= 0) return false;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) return false;
    return !reached_itself(socket);
}

// Returns when the socket is ready or broken; the caller's next call tells which.
void wait_for(const Socket& socket, short events, StoreClock::time_point deadline) {
    while (true) {
        pollfd waiting{.fd = socket.fd(), .events = events, .revents = 0};
        const int ready = poll(&waiting, 1, milliseconds_until(deadline));
        if (ready > 0) return;
        if (ready == 0 && StoreClock::now() >= deadline) throw WireError{"it does not answer"};
        if (ready < 0 && errno != EINTR) throw WireError{std::strerror(errno)};
    }
}

void receive_all(const Socket& socket, std::span<std::byte> into, StoreClock::time_point deadline) {
    while (!into.empty()) {
        const ssize_t count = recv(socket.fd(), into.data(), into.size(), 0);
        if (count == 0) throw WireError{"it closed the connection"};
        if (count > 0) {
            into = into.subspan(static_cast<std::size_t>(count));
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_for(socket, POLLIN, deadline);
        } else if (errno != EINTR) {
            throw WireError{std::strerror(errno)};
        }
    }
}

}  // namespace

StoreClock::time_point after_seconds(double seconds) {
    constexpr double kYear = 365.0 * 24 * 3600;
    const double bounded = std::clamp(std::isnan(seconds) ? 0.0 : seconds, 0.0, kYear);
    return StoreClock::now() + std::chrono::duration_cast<StoreClock::duration>(std::chrono::duration<double>(bounded));
}

int milliseconds_until(StoreClock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - StoreClock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
}

Socket& Socket::operator=(Socket&& other) noexcept {
    const Socket old{std::exchange(fd_, std::exchange(other.fd_, -1))};
    return *this;
}

Socket::~Socket() {
    if (fd_ >= 0) close(fd_);
}

Socket listen_on(const std::string& host, std::uint16_t port) {
    const Addresses addresses = resolve(host, port);
    if (is_loopback(*addresses->ai_addr)) {
        Socket socket = try_listen(addresses->ai_addr, addresses->ai_addrlen);
        if (!socket.open()) throw WireError{std::strerror(errno)};
        return socket;
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_any;
    v6.sin6_port = htons(port);
    Socket socket = try_listen(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
    if (socket.open()) return socket;
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_ANY);
    v4.sin_port = htons(port);
    socket = try_listen(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
    if (!socket.open()) throw WireError{std::strerror(errno)};
    return socket;
}

std::optional<Socket> connect_to(const std::string& host, std::uint16_t port, StoreClock::time_point deadline) {
    const Addresses addresses = resolve(host, port);
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
        Socket socket{::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (!socket.open() || !connected_by(socket, *address, deadline)) continue;
        prepare_socket(socket);
        return socket;
    }
    return std::nullopt;
}

void prepare_socket(const Socket& socket) {
    const auto set = [&](int level, int option, int value) {
        (void)setsockopt(socket.fd(), level, option, &value, sizeof(value));
    };
    (void)fcntl(socket.fd(), F_SETFL, fcntl(socket.fd(), F_GETFL) | O_NONBLOCK);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

FrameWriter& FrameWriter::number(std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) put_byte(static_cast<std::uint8_t>(value >> shift));
    return *this;
}

FrameWriter& FrameWriter::bytes(std::span<const std::byte> value) {
    number(value.size());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
}

FrameWriter& FrameWriter::text(std::string_view value) { return bytes(std::as_bytes(std::span{value})); }

std::vector<std::byte> FrameWriter::frame() const {
    if (bytes_.size() > kFrameBytesMax) throw WireError{fmt::format("a value of {} bytes is too large", bytes_.size())};
    std::vector<std::byte> all;
    all.reserve(kLengthBytes + bytes_.size());
    for (std::size_t i = 0; i < kLengthBytes; ++i) all.push_back(static_cast<std::byte>(bytes_.size() >> (8 * i)));
    all.insert(all.end(), bytes_.begin(), bytes_.end());
    return all;
}

std::span<const std::byte> FrameReader::take(std::size_t count) {
    if (count > rest_.size()) throw WireError{"it speaks another protocol"};
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
}

std::uint8_t FrameReader::byte() { return static_cast<std::uint8_t>(take(1)[0]); }

std::uint64_t FrameReader::number() {
    std::uint64_t value = 0;
    int shift = 0;
    for (const std::byte part : take(8)) {
        value |= static_cast<std::uint64_t>(part) << shift;
        shift += 8;
    }
    return value;
}

std::span<const std::byte> FrameReader::bytes() { return take(number()); }

std::string FrameReader::text() {
    const auto value = bytes();
    return {reinterpret_cast<const char*>(value.data()), value.size()};
}

std::optional<std::size_t> frame_length(std::span<const std::byte> received) {
    if (received.size() < kLengthBytes) return std::nullopt;
    std::size_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<std::size_t>(received[i]) << (8 * i);
    return length;
}

void send_frame(const Socket& socket, std::span<const std::byte> frame, StoreClock::time_point deadline) {
    while (!frame.empty()) {
        const ssize_t count = send(socket.fd(), frame.data(), frame.size(), MSG_NOSIGNAL);
        if (count >= 0) {
            frame = frame.subspan(static_cast<std::size_t>(count));
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_for(socket, POLLOUT, deadline);
        } else if (errno != EINTR) {
            throw WireError{std::strerror(errno)};
        }
    }
}

std::vector<std::byte> receive_frame(const Socket& socket, StoreClock::time_point deadline) {
    std::array<std::byte, kLengthBytes> prefix{};
    receive_all(socket, prefix, deadline);
    const std::size_t length = *frame_length(prefix);
    if (length == 0 || length > kFrameBytesMax) throw WireError{"it speaks another protocol"};
    std::vector<std::byte> frame(length);
    receive_all(socket, frame, deadline);
    return frame;
}

}  // namespace shardproof::gpu
