#include "gpu/transport/processes.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <vector>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using Reader = std::function<std::optional<std::string>(std::string_view)>;
using Names = std::vector<std::string_view>;  // the first that is set counts

// The variables by which a launcher tells a process who it is.
struct LauncherRow {
    std::string_view name;
    Names detected_by;      // any of them set: this launcher
    Names rank;             // required
    Names world;            // required
    Names local_rank;       // required
    Names local_world;      // a number
    Names tasks_per_node;   // or, as Slurm writes it, "2(x3),1", to be read at `node`
    Names node;
    std::vector<Names> job;  // parts of what names a run, and what the store's port is derived from
    bool port_required = false;
};

const std::vector<LauncherRow>& launchers() {
    static const std::vector<LauncherRow> rows{
        {.name = "torchrun",
         .detected_by = {"RANK", "WORLD_SIZE"},
         .rank = {"RANK"},
         .world = {"WORLD_SIZE"},
         .local_rank = {"LOCAL_RANK"},
         .local_world = {"LOCAL_WORLD_SIZE"},
         .tasks_per_node = {},
         .node = {},
         .job = {{"TORCHELASTIC_RUN_ID"}},
         .port_required = true},
        {.name = "mpirun",
         .detected_by = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
         .rank = {"OMPI_COMM_WORLD_RANK"},
         .world = {"OMPI_COMM_WORLD_SIZE"},
         .local_rank = {"OMPI_COMM_WORLD_LOCAL_RANK"},
         .local_world = {"OMPI_COMM_WORLD_LOCAL_SIZE"},
         .tasks_per_node = {},
         .node = {},
         .job = {{"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}}},
        // MPICH and Intel MPI. Inside a Slurm job each node's processes are started from one step of srun, so these
        // come first; srun itself may set PMI_*, but not MPI_LOCAL*. Nothing names the run.
        {.name = "mpiexec",
         .detected_by = {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
         .rank = {"PMI_RANK"},
         .world = {"PMI_SIZE"},
         .local_rank = {"MPI_LOCALRANKID"},
         .local_world = {"MPI_LOCALNRANKS"},
         .tasks_per_node = {},
         .node = {},
         .job = {},
         .port_required = true},
        // A batch script has SLURM_PROCID and SLURM_NTASKS too, without being one of several: only a step counts.
        {.name = "srun",
         .detected_by = {"SLURM_STEP_ID", "SLURM_STEPID"},
         .rank = {"SLURM_PROCID"},
         .world = {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"},
         .local_rank = {"SLURM_LOCALID"},
         .local_world = {},
         .tasks_per_node = {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"},
         .node = {"SLURM_NODEID"},
         .job = {{"SLURM_JOB_ID", "SLURM_JOBID"}, {"SLURM_STEP_ID", "SLURM_STEPID"}}},
    };
    return rows;
}

struct Found {
    std::string_view name;
    std::string value;
};

[[noreturn]] void refuse(std::string_view name, std::string_view value, std::string rule) {
    throw InputError{
        {.file = "environment", .field = std::string{name}, .value = printable(value), .rule = std::move(rule)}};
}

// Empty counts as not set: scripts export empty variables.
std::optional<Found> first_set(const Names& names, const Reader& variable) {
    for (const std::string_view name : names) {
        auto value = variable(name);
        if (value && !value->empty()) return Found{name, std::move(*value)};
    }
    return std::nullopt;
}

std::int64_t number(std::string_view name, std::string_view text, std::int64_t least, std::int64_t most) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) refuse(name, text, "must be a number");
    if (value < least || value > most)
        refuse(name, text, "must be from " + std::to_string(least) + " to " + std::to_string(most));
    return value;
}

std::int64_t required(const Names& names, const LauncherRow& row, const Reader& variable, std::int64_t least,
                      std::int64_t most) {
    const auto found = first_set(names, variable);
    if (!found) refuse(names.front(), "", "is not set, but others of " + std::string{row.name} + "'s variables are");
    return number(found->name, found->value, least, most);
}

// Entry `node` of "2(x3),1": that many nodes of 2 tasks, then one of 1.
std::int64_t tasks_on_node(const Found& list, std::int64_t node) {
    std::string_view rest = list.value;
    while (!rest.empty()) {
        const std::string_view item = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(rest.size(), item.size() + 1));
        const std::size_t open = item.find("(x");
        std::int64_t times = 1;
        if (open != std::string_view::npos) {
            if (!item.ends_with(')')) break;
            times = number(list.name, item.substr(open + 2, item.size() - open - 3), 1, INT32_MAX);
        }
        const std::int64_t tasks = number(list.name, item.substr(0, open), 1, INT32_MAX);
        if (node < times) return tasks;
        node -= times;
    }
    refuse(list.name, list.value, "must list the tasks of every node, as in 2(x3),1");
}

std::int64_t local_world_of(const LauncherRow& row, const Processes& processes, const Reader& variable) {
    if (const auto found = first_set(row.local_world, variable))
        return number(found->name, found->value, 1, processes.world);
    if (const auto list = first_set(row.tasks_per_node, variable)) {
        const auto node = first_set(row.node, variable);
        return tasks_on_node(*list, node ? number(node->name, node->value, 0, INT32_MAX) : 0);
    }
    // Without it all are taken to be on this node, which a local rank of its own disproves.
    const Names& names = row.local_world.empty() ? row.tasks_per_node : row.local_world;
    if (processes.local_rank != processes.rank) refuse(names.front(), "", "must be set where there are several nodes");
    return processes.world;
}

std::uint32_t hash_of(std::string_view text) {
    std::uint32_t hash = 0x811c9dc5U;  // FNV-1a
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193U;
    return hash;
}

// A port of one job: the same for all its processes, below the range that systems give to clients.
std::uint16_t port_of_job(std::string_view job) {
    constexpr std::uint32_t kFirst = 15000;
    constexpr std::uint32_t kCount = 15000;
    return static_cast<std::uint16_t>(kFirst + hash_of(job) % kCount);
}

// "4711.0"; empty where nothing names it.
std::string job_of(const LauncherRow& row, const Reader& variable) {
    std::string job;
    for (const Names& part : row.job) {
        if (const auto found = first_set(part, variable)) job += (job.empty() ? "" : ".") + found->value;
    }
    return job;
}

std::string run_of(std::string_view launcher, const std::string& job, const std::string& port) {
    std::string run{launcher};
    if (!job.empty()) run += " " + job;
    if (!port.empty()) run += " with MASTER_PORT=" + port;
    constexpr std::size_t kBytesMax = 200;
    constexpr std::size_t kBytesOfHash = 11;
    if (run.size() <= kBytesMax) return run;
    const std::uint32_t hash = hash_of(run);
    return run.substr(0, kBytesMax - kBytesOfHash) + "~" + std::to_string(hash);
}

bool is_true(const std::optional<std::string>& text) {
    return text && (*text == "1" || *text == "True" || *text == "true");
}

void find_store(const LauncherRow& row, const Reader& variable, Processes& processes) {
    const bool one_node = processes.local_world == processes.world;
    const auto host = first_set({"MASTER_ADDR"}, variable);
    if (!host && !one_node)
        refuse("MASTER_ADDR", "", "is required where the processes are on several nodes: the host of process 0");
    processes.store_host = host && !one_node ? host->value : "127.0.0.1";
    const auto port = first_set({"MASTER_PORT"}, variable);
    if (!port && row.port_required && processes.world > 1)
        refuse("MASTER_PORT", "", "is not set, but others of " + std::string{row.name} + "'s variables are");
    const std::string job = job_of(row, variable);
    processes.run = run_of(row.name, job, port ? port->value : "");
    if (!port) {
        processes.store_port = port_of_job(job);
        return;
    }
    // torchrun's agent keeps a store of its own on MASTER_PORT as long as its workers live.
    const bool taken = is_true(variable("TORCHELASTIC_USE_AGENT_STORE"));
    const std::int64_t last = taken ? UINT16_MAX - 1 : UINT16_MAX;
    processes.store_port = static_cast<std::uint16_t>(number(port->name, port->value, 1, last) + (taken ? 1 : 0));
}

// Others than those above set PMI_* too. Each of their processes would take itself for the only one.
void refuse_unknown_launcher(const Reader& variable) {
    const auto world = first_set({"PMI_SIZE"}, variable);
    if (!world || number(world->name, world->value, 1, INT32_MAX) == 1) return;
    refuse("MPI_LOCALRANKID", "",
           "is not set, but PMI_SIZE is " + world->value +
               ": set it and MPI_LOCALNRANKS, or start with torchrun, mpirun or srun");
}

}  // namespace

Processes find_processes(const Reader& variable) {
    for (const LauncherRow& row : launchers()) {
        if (!first_set(row.detected_by, variable)) continue;
        Processes processes;
        processes.launcher = row.name;
        processes.world = required(row.world, row, variable, 1, INT32_MAX);
        processes.rank = required(row.rank, row, variable, 0, processes.world - 1);
        processes.local_rank = required(row.local_rank, row, variable, 0, processes.world - 1);
        processes.local_world = local_world_of(row, processes, variable);
        if (processes.local_world > processes.world || processes.local_rank >= processes.local_world)
            refuse(row.local_rank.front(), std::to_string(processes.local_rank),
                   "must be below the processes of this node, and those at most the world: " +
                       std::to_string(processes.local_world) + " of " + std::to_string(processes.world));
        find_store(row, variable, processes);
        return processes;
    }
    refuse_unknown_launcher(variable);
    Processes alone;
    alone.launcher = alone.run = "none";
    return alone;
}

Processes find_processes() {
    return find_processes([](std::string_view name) -> std::optional<std::string> {
        const char* value = std::getenv(std::string{name}.c_str());
        if (value == nullptr) return std::nullopt;
        return value;
    });
}

}  // namespace shardproof::gpu
