#include "props/corpus.hpp"

#include <algorithm>
#include <iterator>
#include <sstream>

namespace shardproof::props {

std::vector<std::string> corpus_lines() {
    std::istringstream text{std::string{kCorpusText}};
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) {
        if (!line.empty() && line.front() != '#') lines.push_back(line);
    }
    return lines;
}

std::vector<Case> corpus() {
    std::vector<Case> cases;
    std::ranges::transform(corpus_lines(), std::back_inserter(cases), parse_case);
    return cases;
}

}  // namespace shardproof::props
