#include "gpu/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/check.hpp"
#include "gpu/gpu_test_support.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(MachineTest, SaysInOneLineWhyThereIsNoDevice) {
    const Machine machine = find_machine();
    EXPECT_GE(machine.runtime_version, 12000);
    EXPECT_EQ(machine.devices.empty(), !machine.why_none.empty());
    EXPECT_EQ(machine.why_none.find('\n'), std::string::npos);
}

TEST(MachineTest, RequiresADevice) {
    Machine machine;
    machine.why_none = "no NVIDIA driver is loaded";
    EXPECT_THAT([&] { require_device(machine); },
                ThrowsMessage<EnvironmentError>(
                    AllOf(HasSubstr("no GPU: no NVIDIA driver is loaded"), HasSubstr("nvidia-smi"))));
    machine.devices.emplace_back();
    EXPECT_NO_THROW(require_device(machine));
}

TEST(MachineTest, DescribesEachDevice) {
    SHARDPROOF_NEEDS_GPU();
    for (const DeviceInfo& device : find_machine().devices) {
        EXPECT_FALSE(device.name.empty());
        EXPECT_GE(device.compute_capability, 70);
        EXPECT_GT(device.num_multiprocessors, 0);
        EXPECT_GT(device.l2_bytes, 0);
        EXPECT_GT(device.bytes_total, bytes_free_on(device.ordinal));
    }
}

TEST(CheckTest, NamesCodeAndCallSite) {
    EXPECT_THAT([] { check(cudaErrorInvalidValue); },
                ThrowsMessage<CudaError>(AllOf(HasSubstr("cudaErrorInvalidValue"), HasSubstr("machine_test.cpp:"))));
    EXPECT_NO_THROW(check(cudaSuccess));
}

TEST(BufferTest, SaysHowMuchMemoryIsNeededAndFree) {
    SHARDPROOF_NEEDS_GPU();
    EXPECT_THAT([] { DeviceBytes(std::int64_t{1} << 50); },
                ThrowsMessage<EnvironmentError>(AllOf(HasSubstr("1125899906842624 bytes needed"), HasSubstr("free"))));
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(DeviceBytes{0}.data(), nullptr);
}

TEST(BufferTest, HandsOutAFreedBlockAgainWhileSomebodyKeepsThem) {
    SHARDPROOF_NEEDS_GPU();
    const std::int64_t before = DeviceBytes::bytes_in_use();
    const KeepFreed keep;
    const std::byte* first = nullptr;
    {
        const DeviceBytes bytes{1000};
        first = bytes.data();
        EXPECT_EQ(DeviceBytes::bytes_in_use() - before, 1000);
    }
    EXPECT_EQ(DeviceBytes::bytes_in_use(), before);
    const DeviceBytes again{1024};
    const DeviceBytes other{1024};
    EXPECT_EQ(again.data(), first);
    EXPECT_NE(other.data(), first);
}

TEST(BufferTest, PoisonsWithNanAndGrows) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    DeviceArray<float> array{3};
    array.reserve(5);
    array.reserve(2);
    EXPECT_EQ(array.size(), 5);
    array.poison(stream.view());
    std::vector<float> host(5);
    download(array.data(), std::as_writable_bytes(std::span{host}), stream.view());
    check(cudaStreamSynchronize(stream.view().raw()));
    for (const float value : host) EXPECT_TRUE(std::isnan(value));
}

TEST(EventTest, HoldsAStreamUntilItIsReached) {
    SHARDPROOF_NEEDS_GPU();
    const Stream first;
    const Stream second;
    const DeviceArray<std::int32_t> value{1};
    std::int32_t host = 0;
    check(cudaMemsetAsync(value.data(), 0, 4, first.view().raw()));
    Event set;
    set.record(first.view());
    set.hold(second.view());
    download(value.data(), std::as_writable_bytes(std::span{&host, 1}), second.view());
    Event read{Timing::on};
    read.record(second.view());
    check(cudaStreamSynchronize(second.view().raw()));
    EXPECT_TRUE(set.reached());
    EXPECT_TRUE(read.reached());
    EXPECT_EQ(host, 0);
}

}  // namespace
}  // namespace shardproof::gpu
