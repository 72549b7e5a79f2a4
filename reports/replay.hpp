// The line that runs a check again.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "sim/plan/parallel_dims.hpp"

namespace shardproof::reports {

// Words of a command line, quoted for a shell where they need it; control characters as bash's $'...' has them.
class ReplayLine {
public:
    explicit ReplayLine(std::string_view command);
    ReplayLine& word(std::string_view text);
    ReplayLine& option(std::string_view name, std::string_view value);
    ReplayLine& option(std::string_view name, std::int64_t value);
    ReplayLine& layout(const ParallelDims& dims, std::string_view rules);  // degrees other than 1, --sp, --rules
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    std::string text_;
};

}  // namespace shardproof::reports
