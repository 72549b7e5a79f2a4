#include "props/corpus/file_corpus.hpp"

#include <sys/stat.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "oracle/model/error.hpp"

namespace shardproof::props {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kHoleInMemoryMax = std::uint64_t{1} << 24;

std::string from_hex(const std::string& hex) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return bytes;
}

Piece piece_of(const json& value) {
    if (value.is_string()) return {value.get<std::string>()};
    if (value.contains("hole")) return {"", value["hole"].get<std::uint64_t>()};
    if (value.contains("hex")) return {from_hex(value["hex"].get<std::string>())};
    return {value.at("text").get<std::string>(), value.at("times").get<std::uint64_t>()};
}

Pieces pieces_of(const json& list) {
    Pieces pieces;
    for (const json& value : list) pieces.push_back(piece_of(value));
    return pieces;
}

Reference reference_of(const json& value) {
    if (value.contains("digest")) return {value["digest"].get<std::uint32_t>(), {}};
    if (value.contains("hangs")) return {{}, "hangs"};
    return {{}, value.at("rejects").get<std::string>()};
}

CorpusPlace place_of(const json& value) {
    CorpusPlace place;
    if (value.contains("link")) {
        place.kind = CorpusPlace::Kind::link;
        place.target = value["link"].get<std::string>();
    } else if (value.contains("is")) {
        place.kind = value["is"] == "folder" ? CorpusPlace::Kind::folder : CorpusPlace::Kind::fifo;
    } else {
        place.pieces = pieces_of(value.at("pieces"));
        place.crc32 = value.at("crc32").get<std::uint32_t>();
    }
    return place;
}

template <class Row>
std::vector<Row> read_rows(const fs::path& file, Row (*row_of)(const json&)) {
    std::vector<Row> rows;
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) rows.push_back(row_of(json::parse(line)));
    return rows;
}

CorpusFile file_of(const json& row) {
    CorpusFile file{.name = row.at("name").get<std::string>(),
                    .pieces = pieces_of(row.at("pieces")),
                    .crc32 = {},
                    .reference = reference_of(row.at("reference")),
                    .says = row.value("says", "")};
    if (row.contains("crc32")) file.crc32 = row["crc32"].get<std::uint32_t>();
    SP_ASSERT(size_of(file.pieces) == row.at("bytes").get<std::uint64_t>());
    return file;
}

CorpusCheckpoint checkpoint_of(const json& row) {
    CorpusCheckpoint checkpoint{.name = row.at("name").get<std::string>(),
                                .contents = {},
                                .reference = reference_of(row.at("reference")),
                                .says = row.value("says", "")};
    for (const auto& [path, what] : row.at("contents").items()) checkpoint.contents.emplace(path, place_of(what));
    return checkpoint;
}

}  // namespace

std::uint64_t size_of(const Pieces& pieces) {
    std::uint64_t size = 0;
    for (const Piece& piece : pieces) size += piece.text.empty() ? piece.times : piece.text.size() * piece.times;
    return size;
}

bool is_sparse(const Pieces& pieces) {
    for (const Piece& piece : pieces) {
        if (piece.text.empty() && piece.times > kHoleInMemoryMax) return true;
    }
    return false;
}

std::string text_of(const Pieces& pieces) {
    std::string text;
    text.reserve(size_of(pieces));
    for (const Piece& piece : pieces) {
        if (piece.text.empty()) text.append(piece.times, '\0');
        for (std::uint64_t i = 0; i < piece.times && !piece.text.empty(); ++i) text += piece.text;
    }
    return text;
}

void write_pieces(const Pieces& pieces, const fs::path& file) {
    std::ofstream out(file, std::ios::binary);
    for (const Piece& piece : pieces) {
        if (piece.text.empty()) {
            out.seekp(static_cast<std::streamoff>(piece.times), std::ios::cur);
        } else {
            out << text_of({piece});
        }
    }
    out.close();
    SP_ASSERT(out.good());
    fs::resize_file(file, size_of(pieces));  // a hole at the end is no write
}

void make_checkpoint(const CorpusCheckpoint& checkpoint, const fs::path& folder) {
    fs::create_directories(folder);
    for (const auto& [path, what] : checkpoint.contents) {
        const fs::path place = (folder / path).lexically_normal();
        fs::create_directories(place.parent_path());
        switch (what.kind) {
            case CorpusPlace::Kind::file:
                write_pieces(what.pieces, place);
                break;
            case CorpusPlace::Kind::link:
                fs::create_symlink(what.target, place);
                break;
            case CorpusPlace::Kind::folder:
                fs::create_directory(place);
                break;
            case CorpusPlace::Kind::fifo:
                SP_ASSERT(::mkfifo(place.c_str(), 0600) == 0);
                break;
        }
    }
}

std::vector<CorpusFile> read_corpus_files(const fs::path& folder) { return read_rows(folder / "files.jsonl", file_of); }

std::vector<CorpusCheckpoint> read_corpus_checkpoints(const fs::path& folder) {
    return read_rows(folder / "checkpoints.jsonl", checkpoint_of);
}

std::uint32_t crc32(std::string_view bytes) {
    static const std::array<std::uint32_t, 256> kTable = [] {
        std::array<std::uint32_t, 256> table{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? 0xEDB8'8320U : 0U);
            table[i] = value;
        }
        return table;
    }();
    std::uint32_t crc = 0xFFFF'FFFFU;
    for (const char c : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU] ^ (crc >> 8);
    return ~crc;
}

}  // namespace shardproof::props
