// The end of what frees memory on devices that broke: it may never come.
#pragma once
#include <memory>
#include <string_view>

namespace shardproof::props {

// Destroys what `last` owns, the only owner, in a thread of its own. What has not ended after `seconds` is left behind,
// with a line on standard error naming `what`; its destructor must use nothing that it does not own.
void end_or_leave(std::shared_ptr<void> last, double seconds, std::string_view what) noexcept;

}  // namespace shardproof::props
