#include "oracle/model/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <optional>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"

namespace shardproof {
namespace {

using fixtures::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

constexpr std::string_view kIndex = "model.safetensors.index.json";

// A file of one-byte tensors, each holding the first character of its name.
std::vector<std::byte> file_of(const std::vector<std::string>& names) {
    std::vector<std::pair<std::string, TensorView>> tensors;
    tensors.reserve(names.size());
    for (const std::string& name : names)
        tensors.emplace_back(name, TensorView{DType::U8, {1}, std::as_bytes(std::span(name).first(1))});
    return to_safetensors(tensors);
}

class CheckpointFolder : public testing::Test {
protected:
    void write(std::string_view name, const std::vector<std::string>& tensors) {
        const auto bytes = file_of(tensors);
        fixtures::write_text(folder_ / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    void write_index(std::string_view json) { fixtures::write_text(folder_ / kIndex, json); }
    // Two files and an index that is right.
    void write_sharded() {
        write("one.safetensors", {"a", "b"});
        write("two.safetensors", {"c"});
        write_index(
            R"({"metadata":{"total_size":3},"weight_map":{"c":"two.safetensors","a":"one.safetensors","b":"one.safetensors"}})");
    }
    auto opening() {
        return [this] { (void)Checkpoint::open(folder_.path()); };
    }
    // What opening says of this weight_map (the text between the braces).
    void expect_refused(std::string_view weight_map, std::string_view message) {
        write_index("{\"weight_map\":{" + std::string(weight_map) + "}}");
        EXPECT_THAT(opening(), ThrowsMessage<InputError>(HasSubstr(std::string(message)))) << printable(weight_map);
    }
    std::vector<std::string> names_of(const Checkpoint& checkpoint) {
        std::vector<std::string> names;
        for (const auto& [name, item] : checkpoint.items()) names.push_back(name);
        return names;
    }

    TemporaryFolder folder_;
};

TEST_F(CheckpointFolder, OfASingleFileReadsThatAlone) {
    write("model.safetensors", {"b", "a"});
    write("other.safetensors", {"z"});
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    EXPECT_THAT(names_of(checkpoint), ElementsAre("a", "b"));
    EXPECT_EQ(checkpoint.files()[0].source().name(), "model.safetensors");
    EXPECT_EQ(checkpoint.name(), folder_.path().string());
    EXPECT_EQ(static_cast<char>(checkpoint.tensor("b").bytes[0]), 'b');
    EXPECT_THAT(checkpoint.notes(), IsEmpty());
}

TEST_F(CheckpointFolder, WithAnIndexReadsTheFilesItNames) {
    write_sharded();
    fixtures::write_text(folder_ / "stray.safetensors", "no safetensors file");
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    EXPECT_THAT(names_of(checkpoint), ElementsAre("a", "b", "c"));
    ASSERT_EQ(checkpoint.files().size(), 2U);
    EXPECT_EQ(checkpoint.files()[checkpoint.items().at("c").file_idx].source().name(), "two.safetensors");
    EXPECT_EQ(static_cast<char>(checkpoint.tensor("c").bytes[0]), 'c');
    EXPECT_TRUE(checkpoint.contains("a"));
    EXPECT_FALSE(checkpoint.contains("z"));
    EXPECT_THAT(checkpoint.notes(), IsEmpty());
}

TEST_F(CheckpointFolder, LetsTheIndexDecideBesideASingleFile) {
    write_sharded();
    write("model.safetensors", {"z"});
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    EXPECT_THAT(names_of(checkpoint), ElementsAre("a", "b", "c"));
    EXPECT_THAT(checkpoint.notes(), ElementsAre(HasSubstr("model.safetensors is left alone")));
}

TEST_F(CheckpointFolder, FollowsLinksOutOfTheFolder) {
    const TemporaryFolder blobs;
    write_sharded();
    std::filesystem::rename(folder_ / "two.safetensors", blobs / "hash");
    std::filesystem::create_symlink(blobs / "hash", folder_ / "two.safetensors");
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    EXPECT_EQ(checkpoint.files()[1].source().name(), "two.safetensors");
}

TEST_F(CheckpointFolder, MayHaveItsFilesInFoldersBelow) {
    std::filesystem::create_directory(folder_ / "sub");
    write("sub/one.safetensors", {"a"});
    write_index(R"({"metadata":{"total_size":1},"weight_map":{"a":"sub/one.safetensors"}})");
    EXPECT_EQ(Checkpoint::open(folder_.path()).files()[0].source().name(), "sub/one.safetensors");
}

TEST_F(CheckpointFolder, OnlyMentionsTotalSize) {
    write("one.safetensors", {"a", "b"});
    const auto notes = [&](std::string_view metadata) {
        write_index(
            std::string("{").append(metadata).append(R"("weight_map":{"a":"one.safetensors","b":"one.safetensors"}})"));
        return Checkpoint::open(folder_.path()).notes();
    };
    EXPECT_THAT(notes(R"("metadata":{"total_size":2},)"), IsEmpty());
    EXPECT_THAT(notes(R"("metadata":{"total_size":99},)"),
                ElementsAre(HasSubstr("total_size is 99; the tensors have 2 bytes")));
    EXPECT_THAT(notes(R"("metadata":{"total_size":"2"},)"), ElementsAre(HasSubstr("total_size is \"2\"")));
    EXPECT_THAT(notes(R"("metadata":{"total_parameters":2},)"), ElementsAre(HasSubstr("no metadata.total_size")));
    EXPECT_THAT(notes(R"("metadata":{"x":{"total_size":2}},)"), ElementsAre(HasSubstr("no metadata.total_size")));
    EXPECT_THAT(notes(R"("total_size":2,)"), ElementsAre(HasSubstr("no metadata.total_size")));
    EXPECT_THAT(notes(R"("metadata":null,)"), ElementsAre(HasSubstr("no metadata.total_size")));
}

TEST_F(CheckpointFolder, RefusesFoldersWithoutAModel) {
    EXPECT_THAT(opening(),
                ThrowsMessage<InputError>(HasSubstr("must hold model.safetensors or model.safetensors.index.json")));
    write("model-00001-of-00002.safetensors", {"a"});
    EXPECT_THAT(opening(),
                ThrowsMessage<InputError>(HasSubstr("model-00001-of-00002.safetensors: files without an index")));
    EXPECT_THAT([&] { (void)Checkpoint::open(folder_ / "absent"); },
                ThrowsMessage<InputError>(HasSubstr("absent: directory missing")));
    EXPECT_THAT([&] { (void)Checkpoint::open(folder_ / "model-00001-of-00002.safetensors"); },
                ThrowsMessage<InputError>(HasSubstr("must be a directory")));
}

TEST_F(CheckpointFolder, RefusesAnIndexOfAnotherForm) {
    write_sharded();
    const auto expect = [&](std::string_view json, std::string_view message) {
        write_index(json);
        EXPECT_THAT(opening(), ThrowsMessage<InputError>(HasSubstr(std::string(message)))) << json;
    };
    expect("", "index.json: must be JSON");
    expect("[]", "an index must be a map");
    expect("3", "an index must be a map");
    expect("{}", "weight_map: field missing");
    expect(R"({"metadata":{"weight_map":{"a":"one.safetensors"}}})", "weight_map: field missing");
    expect(R"({"weight_map":[]})", "weight_map=a list: must be a map");
    expect(R"({"weight_map":null})", "weight_map=null: must be a map");
    expect(R"({"weight_map":{}})", "weight_map={}: must name at least one tensor");
    expect(R"({"weight_map":{"a":3}})", "weight_map.a=3: must be a file name");
    expect(R"({"weight_map":{"a":["one.safetensors"]}})", "weight_map.a=a list: must be a file name");
    expect(R"({"weight_map":{"a":"one.safetensors"},"weight_map":{}})", "weight_map: a key must not come twice");
    expect_refused(R"("a":"one.safetensors","\u0061":"two.safetensors")", "weight_map.a: a key must not come twice");
}

TEST_F(CheckpointFolder, RefusesNamesThatLeaveIt) {
    write_sharded();
    for (const std::string name : {"/etc/passwd", "../one.safetensors", "sub/../one.safetensors", "..", ".", "",
                                   "./one.safetensors", "sub//one.safetensors", "sub/", "one.safetensors\\u0000"}) {
        expect_refused("\"a\":\"" + name + "\"", "must be a relative file name");
    }
}

TEST_F(CheckpointFolder, RefusesFilesThatAreMissingOrNoFiles) {
    write_sharded();
    expect_refused(R"("a":"three.safetensors")", "three.safetensors: file missing");
    ASSERT_EQ(::mkfifo((folder_ / "three.safetensors").c_str(), 0600), 0);
    expect_refused(R"("a":"three.safetensors")", (folder_ / "three.safetensors").string() + ": must be a regular file");
    fixtures::write_text(folder_ / "cut.safetensors", "12");
    expect_refused(R"("a":"cut.safetensors")", (folder_ / "cut.safetensors").string() + ": size=2");
    // An index that leads nowhere is not the same as none.
    write("model.safetensors", {"a"});
    std::filesystem::remove(folder_ / kIndex);
    std::filesystem::create_symlink("nowhere", folder_ / kIndex);
    EXPECT_THAT(opening(), ThrowsMessage<InputError>(HasSubstr("index.json: file missing")));
}

TEST_F(CheckpointFolder, RefusesAnIndexThatDisagreesWithItsFiles) {
    write_sharded();
    expect_refused(R"("a":"two.safetensors","b":"one.safetensors","c":"two.safetensors")",
                   "weight_map.a=\"two.safetensors\": index and files disagree: the tensor is in one.safetensors");
    expect_refused(R"("a":"one.safetensors","b":"one.safetensors","d":"one.safetensors")",
                   "weight_map.d=\"one.safetensors\": index and files disagree: the tensor is in no listed file");
    expect_refused(R"("a":"one.safetensors")",
                   "weight_map.b: index and files disagree: one.safetensors holds the tensor");
    write("two.safetensors", {"a", "c"});
    expect_refused(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")",
                   "a: a tensor must not be in two files: one.safetensors and two.safetensors");
}

TEST(CheckpointTensor, ThatIsMissingIsNamed) {
    const Checkpoint checkpoint = Checkpoint::from_sources({own_bytes(file_of({"a"}), "memory")});
    EXPECT_THAT([&] { (void)checkpoint.tensor("x.y\n"); },
                ThrowsMessage<InputError>("memory: \"x.y\\n\": tensor missing"));
}

TEST(CheckpointSources, MustNotRepeatATensor) {
    EXPECT_THAT(
        [] { (void)Checkpoint::from_sources({own_bytes(file_of({"a"}), "m1"), own_bytes(file_of({"b", "a"}), "m2")}); },
        ThrowsMessage<InputError>("m1, m2: a: a tensor must not be in two files: m1 and m2"));
}

TEST(CheckpointSources, CanBeReplacedInACopyThatOutlivesTheOriginal) {
    std::optional<Checkpoint> original = Checkpoint::from_sources({own_bytes(file_of({"a", "b"}), "memory")});
    const Checkpoint plain = *original;
    const Checkpoint faulty = original->with_sources([](const std::shared_ptr<const ByteSource>& source) {
        std::vector<std::byte> ones(source->bytes().size(), std::byte{0xFF});
        return own_bytes(std::move(ones), source->name());
    });
    original.reset();
    EXPECT_EQ(faulty.tensor("b").bytes[0], std::byte{0xFF});
    EXPECT_EQ(static_cast<char>(plain.tensor("b").bytes[0]), 'b');
    EXPECT_EQ(plain.items().at("a").entry->name, "a");
}

}  // namespace
}  // namespace shardproof
