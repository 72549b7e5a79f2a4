// Every checkpoint of the corpus: taken and refused as by a plain loop over index and files that uses the reference
// parser, but for the differences named here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "oracle/model/checkpoint.hpp"
#include "oracle/model/error.hpp"
#include "props/corpus/corpus_test_support.hpp"
#include "props/corpus/file_corpus.hpp"

namespace shardproof::props {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::filesystem::path kSources = SHARDPROOF_SOURCE_DIR;

const NamedDifferences kStricter{
    {"a tensor that two files hold", {"disagreeing/tensor in two files", "disagreeing/one file under two names"}},
    {"a tensor of a listed file that the index does not name", {"disagreeing/tensor that the index does not name"}},
    {"a file name that leaves the folder, or is spelt with empty, `.` or `..` parts",
     {"name/name '../model.safetensors'", "name/name 'x/../../model.safetensors'", "name/name 'x/../one'",
      "name/name './one'", "name/name 'x//one'"}},
    {"an empty `weight_map`", {"index/weight_map is empty"}},
    {"a key twice in the index",
     {"index/weight_map twice", "index/tensor twice, the same file", "index/tensor twice, two files",
      "index/tensor twice, escaped once", "index/metadata twice"}},
    {"JSON in it that no strict parser takes",
     {"index/NaN", "index/a number beyond double range", "index/a surrogate alone", "index/200 levels"}},
    {"an index that is a link to nothing", {"index/a link to nothing, beside a single file"}},
};

const std::vector<CorpusCheckpoint>& checkpoints() {
    static const std::vector<CorpusCheckpoint> all = read_corpus_checkpoints(kSources / "props/corpus/safetensors");
    return all;
}

std::uint32_t digest_of(const Checkpoint& checkpoint) {
    std::string text;
    for (const auto& [name, item] : checkpoint.items())
        text.append(name).append("\t").append(checkpoint.files()[item.file_idx].source().name()).append("\n");
    return crc32(text);
}

struct Opened {
    std::optional<std::uint32_t> digest;
    std::string message;  // with FOLDER for the folder's name
};

Opened ours(const CorpusCheckpoint& checkpoint) {
    const fixtures::TemporaryFolder outer;
    const std::filesystem::path folder = outer / "model";
    make_checkpoint(checkpoint, folder);
    try {
        return {digest_of(Checkpoint::open(folder)), {}};
    } catch (const InputError& error) {
        std::string message = error.what();
        for (std::size_t at = 0; (at = message.find(folder.string())) != std::string::npos;)
            message.replace(at, folder.string().size(), "FOLDER");
        return {{}, message};
    }
}

TEST(CheckpointCorpus, IsAsLargeAsPromised) { EXPECT_GE(checkpoints().size(), 40U); }

TEST(CheckpointCorpus, IsMadeAsByTheScript) {
    for (const CorpusCheckpoint& checkpoint : checkpoints()) {
        for (const auto& [path, what] : checkpoint.contents) {
            if (what.kind == CorpusPlace::Kind::file) {
                EXPECT_EQ(crc32(text_of(what.pieces)), what.crc32) << checkpoint.name << ": " << path;
            }
        }
    }
}

TEST(CheckpointCorpus, IsTakenAndRefusedAsByALoopOverTheReferenceParser) {
    const std::set<std::string> stricter = names_in(kStricter);
    std::set<std::string> seen;
    for (const CorpusCheckpoint& checkpoint : checkpoints()) {
        const Opened opened = ours(checkpoint);
        if (checkpoint.reference.digest && !opened.digest) {
            seen.insert(checkpoint.name);
            EXPECT_TRUE(stricter.contains(checkpoint.name))
                << checkpoint.name << ": only we refuse it: " << opened.message;
        } else {
            EXPECT_EQ(opened.digest, checkpoint.reference.digest)
                << checkpoint.name << ": the loop: " << checkpoint.reference.message;
        }
    }
    EXPECT_EQ(seen, stricter);
}

TEST(CheckpointCorpus, IsRefusedInOneLineThatSaysWhy) {
    for (const CorpusCheckpoint& checkpoint : checkpoints()) {
        const Opened opened = ours(checkpoint);
        EXPECT_EQ(opened.digest.has_value(), checkpoint.says.empty()) << checkpoint.name << ": " << opened.message;
        if (checkpoint.says.empty()) continue;
        EXPECT_THAT(opened.message, StartsWith("FOLDER")) << checkpoint.name;
        EXPECT_THAT(opened.message, HasSubstr(checkpoint.says)) << checkpoint.name;
        EXPECT_TRUE(is_one_short_line(opened.message)) << checkpoint.name << ": " << opened.message;
    }
}

TEST(CheckpointCorpus, DiffersFromTheLoopAsTheReadmeSays) { expect_in_readme(kStricter, kSources / "README.md"); }

}  // namespace
}  // namespace shardproof::props
