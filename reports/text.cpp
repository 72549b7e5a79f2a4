#include "reports/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ostream>

#include "oracle/model/error.hpp"

namespace shardproof::reports {
namespace {

// Columns on a terminal: bytes that begin a character.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string shortened(std::string_view text) {
    constexpr std::size_t kLengthMax = 200;
    if (text.size() <= kLengthMax) return std::string{text};
    std::size_t end = kLengthMax - 3;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return std::string{text.substr(0, end)} + "...";
}

std::string grouped(std::uint64_t number) {
    std::string text = std::to_string(number);
    for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
    return text;
}

std::string bytes_text(std::uint64_t bytes) {
    constexpr std::array kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    while (value >= 999.5 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string ranges_text(std::span<const std::int64_t> numbers) {
    std::string text;
    for (std::size_t begin = 0; begin < numbers.size();) {
        std::size_t end = begin + 1;
        while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
        if (!text.empty()) text += ',';
        text += std::to_string(numbers[begin]);
        if (end - begin > 1) text += '-' + std::to_string(numbers[end - 1]);
        begin = end;
    }
    return text;
}

std::string index_text(std::span<const IndexRuns> index) {
    std::string text;
    for (const IndexRuns& runs : index) {
        std::string dim;
        for (const Run& run : runs) dim += fmt::format("{}{}:{}", dim.empty() ? "" : " ", run.begin, run.end);
        text += '[' + dim + ']';
    }
    return text;
}

std::string group_text(std::span<const Rank> ranks) {
    constexpr std::size_t kShownMax = 8;
    constexpr std::size_t kShownAtAnEnd = 3;
    std::string text = "[";
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        if (ranks.size() > kShownMax && i == kShownAtAnEnd) {
            text += " ...";
            i = ranks.size() - kShownAtAnEnd;
        }
        if (i > 0) text += ' ';
        text += std::to_string(ranks[i].value());
    }
    return text + ']';
}

void Table::add(std::vector<std::string> row) {
    SP_ASSERT(row.size() == rows_.front().size());
    rows_.push_back(std::move(row));
}

void Table::align_right(std::size_t column) { right_.push_back(column); }

void Table::print(std::ostream& out) const {
    std::vector<std::size_t> widths(rows_.front().size(), 0);
    for (const auto& row : rows_) {
        for (std::size_t column = 0; column < row.size(); ++column) {
            widths[column] = std::max(widths[column], width_of(row[column]));
        }
    }
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t column = 0; column < row.size(); ++column) {
            const std::string padding(widths[column] - width_of(row[column]), ' ');
            const bool right = std::ranges::find(right_, column) != right_.end();
            line += "  " + (right ? padding + row[column] : row[column] + padding);
        }
        out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
    }
}

}  // namespace shardproof::reports
