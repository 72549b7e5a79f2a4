#include "reports/json.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace shardproof::reports {
namespace {

std::string written(const auto& write) {
    std::ostringstream out;
    JsonWriter json{out};
    write(json);
    return out.str();
}

TEST(Json, NestsObjectsAndLists) {
    const std::string text = written([](JsonWriter& json) {
        json.begin_object().field("a", 1).key("b").begin_array().begin_array().end_array().list(
            std::vector<std::int64_t>{1, -2});
        json.end_array().field("c", true).key("d").null().key("e").begin_object().end_object().end_object();
    });
    EXPECT_EQ(nlohmann::json::parse(text),
              nlohmann::json::parse(R"({"a":1,"b":[[],[1,-2]],"c":true,"d":null,"e":{}})"));
}

TEST(Json, StringsReadBackAndHoldNoControlCharacter) {
    using namespace std::string_literals;  // the literal holds a NUL
    const std::string name = "q\"\\ \x01\x1b\n\x7f\xc2\x9b\xe2\x80\xa8\xc3\xa9\0z"s;
    const std::string text = written([&](JsonWriter& json) { json.value(name); });
    EXPECT_EQ(nlohmann::json::parse(text), name);
    for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos);
}

TEST(Json, BytesThatAreNoUtf8BecomeTheReplacementCharacter) {
    EXPECT_EQ(written([](JsonWriter& json) {
                  json.value(
                      "a\xff"
                      "b\xed\xa0\x80");
              }),
              "\"a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(Json, NumbersReadBackTheSame) {
    const auto text = [](auto number) { return written([&](JsonWriter& json) { json.value(number); }); };
    EXPECT_EQ(text(UINT64_MAX), "18446744073709551615");
    EXPECT_EQ(text(INT64_MIN), "-9223372036854775808");
    EXPECT_EQ(nlohmann::json::parse(text(0.1)).get<double>(), 0.1);
    EXPECT_EQ(nlohmann::json::parse(text(5e-324)).get<double>(), 5e-324);
    EXPECT_EQ(text(std::nan("")), "null");
    EXPECT_EQ(text(HUGE_VAL), "null");
}

}  // namespace
}  // namespace shardproof::reports
