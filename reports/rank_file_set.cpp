#include "reports/rank_file_set.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "oracle/model/safetensors.hpp"
#include "reports/manifest.hpp"
#include "reports/writable.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

// Half of what the process may have open, and at least a few: the checkpoint's files are maps, not descriptors.
std::size_t files_at_once() {
    constexpr std::size_t kFew = 16;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kFew;
    return std::max<std::size_t>(kFew, static_cast<std::size_t>(limit.rlim_cur) / 2);
}

SafetensorsForm form_of_rank(const Plan& plan, Rank rank) {
    std::vector<TensorForm> tensors;
    tensors.reserve(plan.params.size());
    for (std::size_t p = 0; p < plan.params.size(); ++p)
        tensors.push_back({plan.params[p].parameter.name, plan.params[p].dtype, local_shape(shard_of(plan, p, rank))});
    return safetensors_form(tensors, {{"format", "pt"}});
}

}  // namespace

RankFileSet::RankFileSet(const Plan& plan, fs::path folder)
    : folder_{std::move(folder)}, opened_(static_cast<std::size_t>(plan.world()), -1), num_open_max_{files_at_once()} {
    begin_.reserve(opened_.size());
    try {
        for (std::size_t rank = 0; rank < opened_.size(); ++rank) {
            SafetensorsForm form = form_of_rank(plan, Rank{static_cast<std::int64_t>(rank)});
            begin_.push_back(std::move(form.begin));
            write_at(rank, 0, std::as_bytes(std::span{form.head}));
        }
    } catch (...) {
        close_all();
        for (std::size_t rank = 0; rank < begin_.size(); ++rank) ::unlink(name_of_rank(rank, false).c_str());
        throw;
    }
}

RankFileSet::~RankFileSet() {
    close_all();
    for (std::size_t rank = num_committed_; rank < opened_.size(); ++rank) ::unlink(name_of_rank(rank, false).c_str());
}

fs::path RankFileSet::name_of_rank(std::size_t rank, bool complete) const {
    const std::string name = rank_file_name(Rank{static_cast<std::int64_t>(rank)});
    return complete ? folder_ / name : folder_ / fmt::format(".{}.tmp-{}", name, ::getpid());
}

void RankFileSet::close_all() {
    for (int& file : opened_) {
        if (file >= 0) ::close(file);
        file = -1;
    }
    num_open_ = 0;
}

int RankFileSet::open_file(std::size_t rank) {
    if (opened_[rank] >= 0) return opened_[rank];
    if (num_open_ == num_open_max_) close_all();
    opened_[rank] = ::open(name_of_rank(rank, false).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (opened_[rank] < 0) throw_unwritable(name_of_rank(rank, true), errno);
    ++num_open_;
    return opened_[rank];
}

void RankFileSet::write_at(std::size_t rank, std::uint64_t offset, std::span<const std::byte> bytes) {
    const int file = open_file(rank);
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw_unwritable(name_of_rank(rank, true), errno);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        offset += static_cast<std::uint64_t>(written);
    }
}

void RankFileSet::write(Rank rank, std::size_t param_idx, std::span<const std::byte> shard) {
    write_at(rank.idx(), begin_[rank.idx()][param_idx], shard);
}

void RankFileSet::commit() {
    for (std::size_t rank = 0; rank < opened_.size(); ++rank) {
        if (::fsync(open_file(rank)) != 0 && errno != EINVAL) throw_unwritable(name_of_rank(rank, true), errno);
    }
    close_all();
    for (; num_committed_ < opened_.size(); ++num_committed_) {
        if (::rename(name_of_rank(num_committed_, false).c_str(), name_of_rank(num_committed_, true).c_str()) != 0)
            throw_unwritable(name_of_rank(num_committed_, true), errno);
    }
}

}  // namespace shardproof::reports
