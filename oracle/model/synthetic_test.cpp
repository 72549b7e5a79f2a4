#include "oracle/model/synthetic.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include "oracle/model/config.hpp"

namespace shardproof {
namespace {

using ::testing::ElementsAre;

const std::string kDemoConfig = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo/config.json";

std::vector<SyntheticTensor> demo_tensors() {
    const ModelConfig config = read_config(kDemoConfig);
    return synthetic_tensors(family_of(config).parameters(config));
}

std::vector<std::byte> filled(const SyntheticTensor& tensor, DType dtype, std::uint64_t seed, std::int64_t first,
                              std::int64_t count) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(count * bits_of(dtype) / 8));
    fill_synthetic(tensor, dtype, seed, first, bytes);
    return bytes;
}

template <class T>
std::vector<T> values(const SyntheticTensor& tensor, DType dtype) {
    const std::vector<std::byte> bytes = filled(tensor, dtype, 7, 2, 4);
    std::vector<T> read(4);
    std::memcpy(read.data(), bytes.data(), bytes.size());
    return read;
}

// Worked out apart, in whole numbers of any size: what changes them makes everybody's checkpoints other ones.
TEST(Synthetic, ValuesAreTheSameOnEveryMachine) {
    const SyntheticTensor tensor{.name = "model.layers.3.mlp.gate.weight", .shape = {4, 8}, .half_width = 0x1p-4F};
    EXPECT_THAT(values<std::uint16_t>(tensor, DType::BF16), ElementsAre(15716, 48442, 48264, 15560));
    EXPECT_THAT(values<std::uint16_t>(tensor, DType::F16), ElementsAre(11040, 43469, 42048, 9793));
    EXPECT_THAT(values<std::uint32_t>(tensor, DType::F32), ElementsAre(1029962926, 3174669388, 3163028000, 1019750392));
}

TEST(Synthetic, APartIsWhatTheWholeHasThere) {
    for (const SyntheticTensor& tensor : demo_tensors()) {
        const std::int64_t count = num_elements(tensor.shape);
        const std::vector<std::byte> whole = filled(tensor, DType::BF16, 3, 0, count);
        const std::int64_t first = count / 3;
        const std::vector<std::byte> part = filled(tensor, DType::BF16, 3, first, count - first);
        ASSERT_EQ(std::memcmp(part.data(), whole.data() + 2 * first, part.size()), 0) << tensor.name;
    }
}

TEST(Synthetic, NoTwoRowsAreAlike) {
    std::set<std::string> rows;
    std::size_t num_rows = 0;
    for (const SyntheticTensor& tensor : demo_tensors()) {
        const std::int64_t width = tensor.shape.back();
        for (const DType dtype : {DType::BF16, DType::F16}) {
            for (const std::uint64_t seed : {0U, 1U}) {
                const std::vector<std::byte> bytes = filled(tensor, dtype, seed, 0, num_elements(tensor.shape));
                const auto row_bytes = static_cast<std::size_t>(2 * width);
                for (std::size_t at = 0; at < bytes.size(); at += row_bytes, ++num_rows)
                    rows.emplace(reinterpret_cast<const char*>(bytes.data() + at), row_bytes);
            }
        }
    }
    EXPECT_EQ(rows.size(), num_rows);
}

TEST(Synthetic, ValuesKeepToTheirRangeAndFillIt) {
    for (const SyntheticTensor& tensor : demo_tensors()) {
        const std::int64_t count = num_elements(tensor.shape);
        const Tensor filled_tensor{DType::F32, tensor.shape, filled(tensor, DType::F32, 0, 0, count)};
        double least = tensor.middle;
        double most = tensor.middle;
        for (std::int64_t i = 0; i < count; ++i) {
            const double value = element_as_double(filled_tensor.view(), i);
            ASSERT_LE(std::abs(value - tensor.middle), tensor.half_width) << tensor.name;
            least = std::min(least, value);
            most = std::max(most, value);
        }
        EXPECT_GT(most - least, 1.2 * tensor.half_width) << tensor.name;
    }
}

TEST(Synthetic, ListsEveryTensorOnceAndAnExpertsTogether) {
    const std::vector<SyntheticTensor> tensors = demo_tensors();
    std::set<std::string> names;
    for (const SyntheticTensor& tensor : tensors) names.insert(tensor.name);
    EXPECT_EQ(names.size(), tensors.size());
    EXPECT_EQ(tensors.size(), 128U);
    EXPECT_EQ(tensors.front().name, "model.embed_tokens.weight");
    EXPECT_EQ(tensors.back().name, "lm_head.weight");
    const auto at = [&](const std::string& name) {
        return std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
    };
    const auto first = at("model.layers.1.mlp.experts.0.gate_proj.weight");
    ASSERT_NE(first, tensors.end());
    EXPECT_EQ((first + 1)->name, "model.layers.1.mlp.experts.0.down_proj.weight");
    EXPECT_EQ((first + 2)->name, "model.layers.1.mlp.experts.0.up_proj.weight");
    EXPECT_EQ((first + 3)->name, "model.layers.1.mlp.experts.1.gate_proj.weight");
    EXPECT_EQ(first->half_width, 0.125F);       // 64 inputs: the largest power of two below sqrt(3/64)
    EXPECT_EQ((first + 1)->half_width, 0.25F);  // 40 inputs
}

}  // namespace
}  // namespace shardproof
