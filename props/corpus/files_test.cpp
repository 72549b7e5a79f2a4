// Every file of the corpus: our verdict is the reference parser's, but for the differences named here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <set>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "oracle/model/safetensors.hpp"
#include "props/corpus/corpus_test_support.hpp"
#include "props/corpus/file_corpus.hpp"

namespace shardproof::props {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::filesystem::path kSources = SHARDPROOF_SOURCE_DIR;

// The format's text forbids a key twice, and a list or a map in these places; its parser takes them. The README says so
// in these words.
const NamedDifferences kStricter{
    {"duplicate keys anywhere in a header",
     {"twice/tensor, the same", "twice/tensor, the same bytes", "twice/tensor, another dtype",
      "twice/tensor, escaped once", "twice/tensor, other offsets", "twice/tensor, far apart", "twice/three times",
      "twice/metadata key", "twice/metadata key, the same value", "twice/metadata key, escaped once",
      "twice/ignored field", "twice/key within an ignored field", "twice/key deep within an ignored field",
      "twice/empty key"}},
    {"a tensor's entry written as a list", {"entry/entry is a list of three fields"}},
    {"a dtype written as a map", {"entry/dtype is a map of one and null"}},
};

const std::vector<CorpusFile>& files() {
    static const std::vector<CorpusFile> all = read_corpus_files(kSources / "props/corpus/safetensors");
    return all;
}

// What we make of a file, as the script writes what the reference makes of it.
std::uint32_t digest_of(const SafetensorsHeader& header, std::string_view bytes) {
    std::string text;
    for (const SafetensorsEntry& entry : header.entries) {
        text.append(entry.name).append("\t").append(name_of(entry.dtype)).append("\t[");
        std::string_view comma;
        for (const std::uint64_t dim : entry.shape) {
            text.append(comma).append(std::to_string(dim));
            comma = ",";
        }
        const std::uint32_t crc =
            bytes.empty() ? 0 : crc32(bytes.substr(entry.begin, entry.end - entry.begin));  // of a sparse file: none
        text.append("]\t").append(std::to_string(crc)).append("\n");
    }
    for (const auto& [key, value] : header.metadata) text.append(key).append("=").append(value).append("\n");
    return crc32(text);
}

// The digest of a file that we take; nothing where we refuse it, with `message`.
std::optional<std::uint32_t> ours(const CorpusFile& file, std::string& message) {
    const fixtures::TemporaryFolder folder;
    std::shared_ptr<const ByteSource> mapped;
    std::string text;
    if (is_sparse(file.pieces)) {
        write_pieces(file.pieces, folder / "f");
        mapped = map_file(folder / "f", "f.safetensors");
    } else {
        text = text_of(file.pieces);
        EXPECT_EQ(crc32(text), file.crc32) << "made other than by the script";
    }
    try {
        return digest_of(parse_safetensors(mapped ? mapped->bytes() : std::as_bytes(std::span(text)), "f.safetensors"),
                         text);
    } catch (const InputError& error) {
        message = error.what();
        return {};
    }
}

TEST(FileCorpus, IsAsLargeAsPromised) {
    EXPECT_GE(files().size(), 250U);
    std::set<std::string> names;
    for (const CorpusFile& file : files()) names.insert(file.name);
    EXPECT_EQ(names.size(), files().size());
}

TEST(FileCorpus, IsTakenAndRefusedAsByTheReferenceParser) {
    const std::set<std::string> stricter = names_in(kStricter);
    std::set<std::string> seen;
    for (const CorpusFile& file : files()) {
        std::string message;
        const std::optional<std::uint32_t> taken = ours(file, message);
        if (file.reference.digest && !taken) {
            seen.insert(file.name);
            EXPECT_TRUE(stricter.contains(file.name)) << file.name << ": only we refuse it: " << message;
        } else {
            EXPECT_EQ(taken, file.reference.digest)
                << file.name << ": "
                << (file.reference.digest ? "read as another content" : "the reference: " + file.reference.message);
        }
    }
    EXPECT_EQ(seen, stricter);
}

TEST(FileCorpus, IsRefusedInOneLineThatSaysWhy) {
    for (const CorpusFile& file : files()) {
        std::string message;
        EXPECT_EQ(ours(file, message).has_value(), file.says.empty()) << file.name << ": " << message;
        if (file.says.empty()) continue;
        EXPECT_THAT(message, StartsWith("f.safetensors: ")) << file.name;
        EXPECT_THAT(message, HasSubstr(file.says)) << file.name;
        EXPECT_TRUE(is_one_short_line(message)) << file.name << ": " << message;
    }
}

TEST(FileCorpus, IsReadInTimeInProportionToItsSize) {
    for (const CorpusFile& file : files()) {
        if (is_sparse(file.pieces)) continue;
        const std::string text = text_of(file.pieces);
        const double seconds_max = 1.0 + static_cast<double>(text.size()) / 10e6;
        const std::clock_t begin = std::clock();  // of this process alone: a busy machine does not count
        try {
            (void)parse_safetensors(std::as_bytes(std::span(text)), "f.safetensors");
        } catch (const InputError&) {
        }
        EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, seconds_max) << file.name;
    }
}

TEST(FileCorpus, DiffersFromTheReferenceAsTheReadmeSays) { expect_in_readme(kStricter, kSources / "README.md"); }

}  // namespace
}  // namespace shardproof::props
