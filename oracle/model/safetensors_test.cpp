// The reader. Each refusal is a row: what the file says, and what the message must say.
#include "oracle/model/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"

namespace shardproof {
namespace {

using fixtures::bytes_of;
using fixtures::file_text;
using fixtures::repeated;
using fixtures::with_pair;
using fixtures::with_tensor;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;
using testing::ThrowsMessage;

SafetensorsHeader parse(std::string_view file) { return parse_safetensors(bytes_of(file), "f.safetensors"); }
auto parsing(std::string file) {
    return [file = std::move(file)] { (void)parse(file); };
}

// One F32 scalar `a` with `more` fields, in a file that is right otherwise.
std::string with_fields(std::string_view more) {
    return file_text("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]" + std::string(more) + "}}",
                     "data");
}
TEST(ReadSafetensors, SortsByNameAndGivesOffsetsInTheFile) {
    const std::string json =
        R"( {"b":{"shape":[2,1],"data_offsets":[0,4],"dtype":"BF16"},)"
        R"("__metadata__":{"format":"pt","k":""},"a":{"dtype":"F64","shape":[],"data_offsets":[4,12]}} )";
    const SafetensorsHeader header = parse(file_text(json, "123456789012"));
    ASSERT_EQ(header.entries.size(), 2U);
    const SafetensorsEntry& a = header.entries[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.dtype, DType::F64);
    EXPECT_THAT(a.shape, ElementsAre());
    EXPECT_EQ(a.begin, 8 + json.size() + 4);
    EXPECT_EQ(a.end, a.begin + 8);
    EXPECT_THAT(header.entries[1].shape, ElementsAre(2, 1));
    EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt"), Pair("k", "")));
}

TEST(ReadSafetensors, TakesWhatTheReferenceParserTakes) {
    const std::string deepest = R"(,"z":)" + repeated("[", 125) + repeated("]", 125);
    for (const std::string& file : {
             file_text("{}"),
             file_text(" \t\r\n{} \n"),
             file_text(R"({"__metadata__":null})"),
             file_text(R"({"__metadata__":{}})"),
             with_fields(R"(,"extra":{"x":[1.5,null,true,-0,1e-400]},"more":"\ud83d\ude00")"),
             with_fields(deepest),
             with_tensor("\"F32\"", "[0,9223372036854775808,2]", "[0,0]", 0),
             with_tensor("\"F32\"", "[0,18446744073709551615]", "[0,0]", 0),
             with_tensor("\"F4\"", "[3,2]", "[0,3]", 3),
             with_tensor("\"F6_E2M3\"", "[4]", "[0,3]", 3),
             with_tensor("\"\\u00463\\u0032\"", "[1]", "[0,4]", 4),
             file_text(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[1],)"
                       R"("data_offsets":[0,1]},"z":{"dtype":"U8","shape":[7,0],"data_offsets":[1,1]}})",
                       "x"),
         }) {
        EXPECT_NO_THROW((void)parse(file)) << printable(file);
    }
}

TEST(ReadSafetensors, KeepsNamesThatAreNoCStrings) {
    const SafetensorsHeader header = parse(file_text(
        R"({"a\u0000b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"));
    EXPECT_EQ(header.entries[0].name, std::string_view("a\0b", 3));
    EXPECT_EQ(header.entries[1].name, "\xf0\x9f\x98\x80");
}

struct Refusal {
    std::string file;
    std::string message;
};

void expect_refusals(const std::vector<Refusal>& rows) {
    for (const Refusal& row : rows) {
        EXPECT_THAT(parsing(row.file),
                    ThrowsMessage<InputError>(AllOf(StartsWith("f.safetensors: "), HasSubstr(row.message))))
            << printable(row.file);
    }
}

std::string with_length(std::uint64_t length, std::string_view rest) {
    std::string text = file_text("", rest);
    std::memcpy(text.data(), &length, sizeof length);
    return text;
}

TEST(RefuseSafetensors, ThatAreTruncatedOrNoSuchFile) {
    expect_refusals({
        {"", "size=0: a safetensors file has at least 8 bytes"},
        {"1234567", "size=7"},
        {with_length(100'000'001, "{}"), "header length=100000001: must be at most 100000000"},
        {with_length(100'000'000, "{}"), "must fit in the file, which is truncated: 10 bytes"},
        {with_length(3, "{}"), "header length=3: must fit in the file"},
        {with_length(0xFFFF'FFFF'FFFF'FFF8U, "{}"), "header length=18446744073709551608: must be at most"},
        {with_length((std::uint64_t{1} << 32) + 2, "{}"), "header length=4294967298: must be at most"},
        {with_length(0, ""), "must be JSON"},
        {with_length(1, "{}"), "must be JSON"},
    });
}

TEST(RefuseSafetensors, ThatAreNoJson) {
    expect_refusals({
        {file_text("\xEF\xBB\xBF{}"), "must be JSON without a byte order mark"},
        {file_text(std::string_view("{}\0", 3)), "must be JSON: NUL at byte 2"},
        {file_text(std::string_view("{}\0\0 x", 6)), "must be JSON: NUL at byte 2"},
        {file_text("{} x"), "must be JSON"},
        {file_text("{}{}"), "must be JSON"},
        {file_text("{\x0c}"), "must be JSON"},
        {file_text("{\xc2\xa0}"), "must be JSON"},
        {file_text("{/**/}"), "must be JSON"},
        {file_text("[]"), "f.safetensors: a list: the header must be a map"},
        {file_text("3"), "f.safetensors: 3: the header must be a map"},
        {with_fields(","), "must be JSON"},
        {with_fields(R"(,"z":01)"), "must be JSON"},
        {with_fields(R"(,"z":+1)"), "must be JSON"},
        {with_fields(R"(,"z":NaN)"), "must be JSON"},
        {with_fields(R"(,"z":"\x41")"), "a.z: must be JSON"},
        {with_fields(R"(,"z":"\ud800")"), "must be JSON"},
        {with_fields(R"(,"z":"\ud800\u0041")"), "must be JSON"},
        {with_fields(R"(,"z":"\udc00")"), "must be JSON"},
        {with_fields(",\"z\":\"\n\""), "must be JSON"},
        {with_fields(",\"z\":\"\xc0\x80\""), "must be JSON"},
        {with_fields(",\"z\":\"\xed\xa0\x80\""), "must be JSON"},
        {with_fields(",\"z\":\"\xf4\x90\x80\x80\""), "must be JSON"},
        {with_fields(R"(,"z":1e309)"), "a.z: a number must be within the range of a double"},
        {with_fields(",\"z\":-" + std::string(309, '9')), "a.z: a number must be within the range of a double"},
        {with_fields(R"(,"z":)" + repeated("[", 126) + repeated("]", 126)), "must not nest deeper than 127 levels"},
        {with_fields(R"(,"z":)" + repeated("[", 100'000)), "must not nest deeper than 127 levels"},
    });
}

TEST(RefuseSafetensors, ThatNameAnythingTwice) {
    const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    expect_refusals({
        {file_text("{\"a\":" + tensor + ",\"a\":" + tensor + "}"), "f.safetensors: a: a key must not come twice"},
        {file_text("{\"a\":" + tensor + ",\"\\u0061\":" + tensor + "}"), "a: a key must not come twice"},
        {file_text(R"({"__metadata__":{},"\u005f_metadata__":{}})"), "__metadata__: a key must not come twice"},
        {file_text(R"({"__metadata__":{"k":"1","k":"1"}})"), "__metadata__.k: a key must not come twice"},
        {with_fields(R"(,"dtype":"F32")"), "a.dtype: a key must not come twice"},
        {with_fields(R"(,"z":1,"z":1)"), "a.z: a key must not come twice"},
        {with_fields(R"(,"z":[{"q":1,"q":1}])"), "a.z[0].q: a key must not come twice"},
    });
}

TEST(RefuseSafetensors, WithEntriesOfAnotherForm) {
    expect_refusals({
        {file_text(R"({"a":["F32",[],[0,4]]})", "data"), "a=a list: a tensor must be a map"},
        {file_text(R"({"a":null})"), "a=null: a tensor must be a map"},
        {file_text(R"({"x.y":{"shape":[],"data_offsets":[0,4]}})", "data"), "\"x.y\": field missing: dtype"},
        {file_text(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "data"), "a: field missing: shape"},
        {file_text(R"({"a":{"dtype":"F32","shape":[]}})", "data"), "a: field missing: data_offsets"},
        {file_text(R"({"a":{"Dtype":"F32","shape":[],"data_offsets":[0,4]}})", "data"), "field missing: dtype"},
        {with_tensor("\"f32\"", "[]", "[0,4]", 4), "a.dtype=\"f32\": must be a dtype of the format"},
        {with_tensor("\"F8_E4M3FN\"", "[]", "[0,1]", 1), "a.dtype=\"F8_E4M3FN\""},
        {with_tensor("{\"F32\":null}", "[]", "[0,4]", 4), "a.dtype=a map"},
        {with_tensor("3", "[]", "[0,4]", 4), "a.dtype=3"},
        {with_tensor("\"F32\"", "1", "[0,4]", 4), "a.shape=1: must be a list of numbers"},
        {with_tensor("\"F32\"", "[1,2.0]", "[0,8]", 8),
         "a.shape[1]=2.0: must be an integer from 0 to 18446744073709551615"},
        {with_tensor("\"F32\"", "[1e0]", "[0,4]", 4), "a.shape[0]=1e0"},
        {with_tensor("\"F32\"", "[-0]", "[0,0]", 0), "a.shape[0]=-0"},
        {with_tensor("\"F32\"", "[-1]", "[0,4]", 4), "a.shape[0]=-1"},
        {with_tensor("\"F32\"", "[\"2\"]", "[0,8]", 8), "a.shape[0]=\"2\""},
        {with_tensor("\"F32\"", "[true]", "[0,4]", 4), "a.shape[0]=true"},
        {with_tensor("\"F32\"", "[null]", "[0,4]", 4), "a.shape[0]=null"},
        {with_tensor("\"F32\"", "[[1]]", "[0,4]", 4), "a.shape[0]=a list"},
        {with_tensor("\"F32\"", "[18446744073709551616]", "[0,4]", 4), "a.shape[0]=18446744073709551616"},
        {with_tensor("\"F32\"", "[]", "[0]", 4), "a.data_offsets=a list: must be two numbers"},
        {with_tensor("\"F32\"", "[]", "[0,4,4]", 4), "a.data_offsets[2]=4: must be two numbers"},
        {with_tensor("\"F32\"", "[]", "[0,4.0]", 4), "a.data_offsets[1]=4.0: must be an integer"},
        {with_tensor("\"F32\"", "[]", "{}", 4), "a.data_offsets=a map: must be a list"},
        {file_text(R"({"__metadata__":{"k":1}})"), "__metadata__.k=1: metadata must be a string"},
        {file_text(R"({"__metadata__":[]})"), "__metadata__=a list: must be a map of strings"},
    });
}

TEST(RefuseSafetensors, WhoseProductsOverflow) {
    expect_refusals({
        {with_tensor("\"F32\"", "[9223372036854775809,2]", "[0,8]", 8),
         "a.shape=[9223372036854775809,2]: number of bits"},
        {with_tensor("\"F32\"", "[4611686018427387906]", "[0,8]", 8),
         "must not overflow 64 bits, with 32 bits an element"},
        {with_tensor("\"U8\"", "[2305843009213693953]", "[0,1]", 1), "must not overflow"},
        {with_tensor("\"U8\"", "[2305843009213693952]", "[0,0]", 0), "must not overflow"},
        {with_tensor("\"F32\"", "[9223372036854775808,2,0]", "[0,0]", 0), "must not overflow"},
        {with_tensor("\"F4\"", "[3]", "[0,2]", 2), "a.shape=[3]: must fill whole bytes, with 4 bits an element of F4"},
        {with_tensor("\"F6_E3M2\"", "[2]", "[0,2]", 2), "must fill whole bytes"},
    });
}

TEST(RefuseSafetensors, WithHolesOverlapsOrBytesLeftOver) {
    EXPECT_NO_THROW((void)parse(with_pair("[4,8]", "[0,4]", 8)));
    EXPECT_NO_THROW((void)parse(with_pair("[0,4]", "[4,4]", 4, "[0]")));
    expect_refusals({
        {with_pair("[1,5]", "[5,9]", 9),
         "a.data_offsets=[1,5]: must begin at 0, where the tensors before it end: no hole"},
        {with_pair("[0,4]", "[5,9]", 9),
         "b.data_offsets=[5,9]: must begin at 4, where the tensors before it end: no hole"},
        {with_pair("[0,4]", "[3,7]", 8),
         "b.data_offsets=[3,7]: must begin at 4, where the tensors before it end: no overlap"},
        {with_pair("[0,4]", "[0,4]", 4), "no overlap"},
        {with_pair("[0,4]", "[2,2]", 4, "[0]"), "b.data_offsets=[2,2]: must begin at 4"},
        {with_pair("[0,4]", "[8,8]", 4, "[0]"), "no hole"},
        {with_pair("[0,4]", "[4,0]", 8), "b.data_offsets=[4,0]: must not end before it begins"},
        {with_pair("[0,4]", "[4,9]", 9), "b.data_offsets=[4,9]: must hold 4 bytes, as dtype U8 and shape [4] say"},
        {with_pair("[0,4]", "[4,8]", 7),
         "b.data_offsets=[4,8]: must end within the file, which is truncated: 7 data bytes"},
        {with_pair("[0,4]", "[4,8]", 9), "size=9 data bytes: must end where the last tensor ends, at 8"},
        {file_text("{}", "x"), "size=1 data bytes: must end where the last tensor ends, at 0"},
    });
}

TEST(RefuseSafetensors, InOneLineWhateverTheNameIs) {
    EXPECT_THAT(
        parsing(file_text(R"({"a\n\u001b[2J\"b":3})")),
        ThrowsMessage<InputError>("f.safetensors: \"a\\n\\x1b[2J\\\"b\"=3: a tensor must be a map of its fields"));
    EXPECT_THAT(parsing(file_text("{\"" + std::string(1'000'000, 'n') + "\":3}")),
                ThrowsMessage<InputError>(testing::SizeIs(testing::Lt(400U))));
}

}  // namespace
}  // namespace shardproof
