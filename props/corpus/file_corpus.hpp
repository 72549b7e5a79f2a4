// The corpus of malformed and odd files: props/corpus/safetensors, made by the script there, with what the format's
// reference parser says of each.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardproof::props {

// A text so many times, or (where the text is empty) a hole of so many zeros.
struct Piece {
    std::string text;
    std::uint64_t times = 1;
};
using Pieces = std::vector<Piece>;
[[nodiscard]] std::uint64_t size_of(const Pieces& pieces);
// Too large a hole to hold in memory: such a file is written with a true hole.
[[nodiscard]] bool is_sparse(const Pieces& pieces);
[[nodiscard]] std::string text_of(const Pieces& pieces);
void write_pieces(const Pieces& pieces, const std::filesystem::path& file);

// What the reference took or refused. `digest` is over what it made of the file, as files_test makes it of ours.
struct Reference {
    std::optional<std::uint32_t> digest;
    std::string message;  // where it refused; "hangs" where it never answered
};

struct CorpusFile {
    std::string name;  // "offsets/hole between"
    Pieces pieces;
    std::optional<std::uint32_t> crc32;  // of all bytes; none for sparse files
    Reference reference;
    std::string says;  // part of our refusal; empty: ours takes it
};

struct CorpusPlace {
    enum class Kind : std::uint8_t { file, link, folder, fifo };
    Kind kind = Kind::file;
    Pieces pieces;  // of a file
    std::uint32_t crc32 = 0;
    std::string target;  // of a link
};

struct CorpusCheckpoint {
    std::string name;
    std::map<std::string, CorpusPlace> contents;  // by path from the folder; one with ".." lies beside it
    Reference reference;
    std::string says;
};
void make_checkpoint(const CorpusCheckpoint& checkpoint, const std::filesystem::path& folder);

// `folder` is props/corpus/safetensors of the sources.
[[nodiscard]] std::vector<CorpusFile> read_corpus_files(const std::filesystem::path& folder);
[[nodiscard]] std::vector<CorpusCheckpoint> read_corpus_checkpoints(const std::filesystem::path& folder);

// As zlib computes it.
[[nodiscard]] std::uint32_t crc32(std::string_view bytes);

}  // namespace shardproof::props
