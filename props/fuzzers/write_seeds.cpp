// write_seeds ROOT DIR: what the targets begin with, from the corpora, the goldens and the small files beside the
// targets: DIR/TARGET/NAME.
#include <cstdio>
#include <filesystem>
#include <string>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "props/corpus/file_corpus.hpp"

namespace {

namespace fs = std::filesystem;
using namespace shardproof;

constexpr std::uint64_t kBytesMax = 4096;  // longer ones are slow to mutate, and say no more

void write_seed(const fs::path& folder, std::size_t number, const std::string& text) {
    fs::create_directories(folder);
    fixtures::write_text(folder / std::to_string(number), text);
}

void copy_files(const fs::path& from, const fs::path& to) {
    fs::create_directories(to);
    fs::copy(from, to, fs::copy_options::overwrite_existing);
}

void write_seeds(const fs::path& root, const fs::path& to) {
    const fs::path corpus = root / "props/corpus/safetensors";
    std::size_t number = 0;
    for (const props::CorpusFile& file : props::read_corpus_files(corpus)) {
        if (props::size_of(file.pieces) <= kBytesMax)
            write_seed(to / "safetensors", number++, props::text_of(file.pieces));
    }
    for (const props::CorpusCheckpoint& checkpoint : props::read_corpus_checkpoints(corpus)) {
        const auto index = checkpoint.contents.find("model.safetensors.index.json");
        if (index != checkpoint.contents.end() && index->second.kind == props::CorpusPlace::Kind::file)
            write_seed(to / "index", number++, props::text_of(index->second.pieces));
    }
    for (const fs::directory_entry& golden : fs::recursive_directory_iterator(root / "oracle/golden")) {
        if (golden.path().filename() == "config.json")
            write_seed(to / "config", number++, fixtures::read_text(golden.path()));
    }
    for (const char* name : {"manifest", "placements", "command_line"})
        copy_files(root / "reports/fuzzers/seeds" / name, to / name);
    write_seed(to / "placements", number, fixtures::read_text(root / "sim/plan/cases/dtensor/placements.json"));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: write_seeds ROOT DIR\n", stderr);
        return 2;
    }
    write_seeds(argv[1], argv[2]);
    return 0;
}
