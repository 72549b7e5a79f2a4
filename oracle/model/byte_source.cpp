#include "oracle/model/byte_source.hpp"

#include <utility>

namespace shardproof {
namespace {

class OwnedBytes final : public ByteSource {
public:
    OwnedBytes(std::vector<std::byte> bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}
    [[nodiscard]] std::span<const std::byte> bytes() const override { return bytes_; }
    [[nodiscard]] const std::string& name() const override { return name_; }

private:
    std::vector<std::byte> bytes_;
    std::string name_;
};

}  // namespace

std::shared_ptr<const ByteSource> own_bytes(std::vector<std::byte> bytes, std::string name) {
    return std::make_shared<OwnedBytes>(std::move(bytes), std::move(name));
}

}  // namespace shardproof
