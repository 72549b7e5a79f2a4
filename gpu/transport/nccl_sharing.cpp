#include "gpu/transport/nccl_sharing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "gpu/transport/nccl_library.hpp"
#include "gpu/transport/store.hpp"

namespace shardproof::gpu {
namespace {

// More CTAs a rank than this, and the kernels of all ranks do not fit on the GPU together: 4 ranks hung.
constexpr int kCtasMax = 4;

using Uuid = std::vector<std::byte>;

Uuid uuid_of(int device) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device));
    const auto bytes = std::as_bytes(std::span{properties.uuid.bytes});
    return {bytes.begin(), bytes.end()};
}

std::string key_of(const std::string& prefix, std::int64_t rank) { return fmt::format("{}gpu/{}", prefix, rank); }

std::vector<Uuid> uuids_of_all(const TransportOptions& options, const std::string& prefix) {
    std::vector<std::string> keys;
    for (std::int64_t rank = 0; rank < options.world; ++rank) keys.push_back(key_of(prefix, rank));
    std::vector<Uuid> uuids;
    std::vector<std::size_t> absent;
    for (auto& uuid : options.store->get_all(keys, options.deadline_s)) {
        if (!uuid) absent.push_back(uuids.size());
        uuids.push_back(std::move(uuid).value_or(Uuid{}));
    }
    if (absent.empty()) return uuids;
    throw EnvironmentError{fmt::format("rank{} {} did not come within {:g} s of the start",
                                       absent.size() == 1 ? "" : "s", fmt::join(absent, ", "), options.deadline_s),
                           "see that all processes run"};
}

// What the variable says then.
std::string set_where_unset(const char* name, const std::string& value) {
    if (const char* given = std::getenv(name); given != nullptr) return given;
    if (setenv(name, value.c_str(), 0) != 0)
        throw EnvironmentError{fmt::format("the environment takes no {}", name), "set it by hand"};
    return value;
}

[[noreturn]] void refuse_variable(const char* name, std::string_view value, std::string_view why) {
    throw EnvironmentError{fmt::format("{}={}: {}", name, printable(value), why), "unset it: it is set as needed"};
}

int ctas_for(const GpuSharing& sharing) {
    // Half the GPU at most: the ranks' own kernels run beside NCCL's.
    return std::clamp(sharing.num_multiprocessors / (2 * sharing.ranks_of_all), 1, kCtasMax);
}

void require_ctas(const char* name, std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < 1 || value > kCtasMax)
        refuse_variable(name, text, "must be 1 to 4 where ranks share a GPU: with more, 4 ranks on one GPU hung");
}

}  // namespace

GpuSharing find_sharing(const TransportOptions& options, const std::string& prefix) {
    GpuSharing sharing;
    std::map<Uuid, int> here;
    for (const LocalRank& local : options.local_ranks) {
        const Uuid uuid = uuid_of(local.device);
        sharing.ranks_of_process = std::max(sharing.ranks_of_process, ++here[uuid]);
        int count = 0;
        check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, local.device));
        sharing.num_multiprocessors =
            sharing.num_multiprocessors == 0 ? count : std::min(sharing.num_multiprocessors, count);
        if (options.store != nullptr) options.store->set(key_of(prefix, local.rank.value()), uuid);
    }
    sharing.ranks_of_all = sharing.ranks_of_process;
    if (options.store == nullptr) return sharing;
    std::map<Uuid, int> everywhere;
    for (const Uuid& uuid : uuids_of_all(options, prefix))
        sharing.ranks_of_all = std::max(sharing.ranks_of_all, ++everywhere[uuid]);
    return sharing;
}

void prepare_nccl_environment(const GpuSharing& sharing, int version, Rank first_rank) {
    if (sharing.ranks_of_all == 1) return;
    if (version < kNcclSharedGpuVersion) {
        if (sharing.ranks_of_process > 1)
            throw EnvironmentError{
                fmt::format("NCCL {} cannot run {} ranks of one process on one GPU: that takes {} or later",
                            nccl_version_text(version), sharing.ranks_of_process,
                            nccl_version_text(kNcclSharedGpuVersion)),
                "set SHARDPROOF_NCCL=FILE to a newer libnccl.so.2, or use --transport loopback"};
        // Processes that seem to be on hosts of their own may share a GPU; they talk over sockets.
        set_where_unset("NCCL_HOSTID", fmt::format("shardproof-{}", first_rank.value()));
        return;
    }
    constexpr const char* kEnable = "NCCL_MULTI_RANK_GPU_ENABLE";
    constexpr const char* kCtas = "NCCL_MAX_CTAS";
    const std::string enable = set_where_unset(kEnable, "1");
    if (enable != "1") refuse_variable(kEnable, enable, "must be 1 where ranks share a GPU");
    require_ctas(kCtas, set_where_unset(kCtas, std::to_string(ctas_for(sharing))));
    // NVLink multicast needs a GPU a rank.
    set_where_unset("NCCL_NVLS_ENABLE", "0");
}

}  // namespace shardproof::gpu
