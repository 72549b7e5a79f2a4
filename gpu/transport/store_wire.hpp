// What travels between a store and its clients: frames of a length and that many bytes, over sockets whose every read
// and write has a deadline.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shardproof::gpu {

using StoreClock = std::chrono::steady_clock;
[[nodiscard]] StoreClock::time_point after_seconds(double seconds);  // from now; huge values stay in range
// For poll(): at least 0, rounded up.
[[nodiscard]] int milliseconds_until(StoreClock::time_point deadline);

// What the wire could not do, for callers to name the store in.
class WireError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Socket {
public:
    Socket() = default;
    explicit Socket(int fd) : fd_{fd} {}
    Socket(Socket&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool open() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

// Listens on `port` of every interface, or of the loopback one where `host` names it. Throws WireError.
[[nodiscard]] Socket listen_on(const std::string& host, std::uint16_t port);
// Nothing where nobody listens there yet. Throws WireError for a host that has no address.
[[nodiscard]] std::optional<Socket> connect_to(const std::string& host, std::uint16_t port,
                                               StoreClock::time_point deadline);
// Non-blocking, without delay, and probed, so that a peer whose machine is gone is noticed too.
void prepare_socket(const Socket& socket);

enum class StoreOp : std::uint8_t { hello, set, get, peek, remove, news, quit, barrier, bye };
enum class StoreReply : std::uint8_t { ok, absent, refused };
inline constexpr std::string_view kStoreMagic = "shardproof store 3";
inline constexpr std::size_t kFrameBytesMax = std::size_t{1} << 30;

// Bytes of a frame after its length, in order.
class FrameWriter {
public:
    explicit FrameWriter(StoreOp op) { put_byte(static_cast<std::uint8_t>(op)); }
    explicit FrameWriter(StoreReply reply) { put_byte(static_cast<std::uint8_t>(reply)); }
    FrameWriter& number(std::uint64_t value);
    FrameWriter& bytes(std::span<const std::byte> value);  // with its length
    FrameWriter& text(std::string_view value);
    [[nodiscard]] std::vector<std::byte> frame() const;    // with the frame's length before it

private:
    void put_byte(std::uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
    std::vector<std::byte> bytes_;
};

// Throws WireError where the frame ends too early.
class FrameReader {
public:
    explicit FrameReader(std::span<const std::byte> frame) : rest_{frame} {}
    [[nodiscard]] std::uint8_t byte();
    [[nodiscard]] std::uint64_t number();
    [[nodiscard]] std::span<const std::byte> bytes();
    [[nodiscard]] std::string text();

private:
    [[nodiscard]] std::span<const std::byte> take(std::size_t count);
    std::span<const std::byte> rest_;
};

// The length of the frame that `received` begins with, its own 4 bytes not counted; nullopt when they are not all
// there.
[[nodiscard]] std::optional<std::size_t> frame_length(std::span<const std::byte> received);

// Whole frames, for clients. Throw WireError: the peer is gone, or the deadline passed.
void send_frame(const Socket& socket, std::span<const std::byte> frame, StoreClock::time_point deadline);
[[nodiscard]] std::vector<std::byte> receive_frame(const Socket& socket, StoreClock::time_point deadline);

}  // namespace shardproof::gpu
