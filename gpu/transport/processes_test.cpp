#include "gpu/transport/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Environment = std::map<std::string, std::string, std::less<>>;

Processes find_in(const Environment& environment) {
    return find_processes([&](std::string_view name) -> std::optional<std::string> {
        const auto found = environment.find(name);
        if (found == environment.end()) return std::nullopt;
        return found->second;
    });
}

void expect_refused(const Environment& environment, const std::string& text) {
    EXPECT_THAT([&] { (void)find_in(environment); }, ThrowsMessage<InputError>(HasSubstr(text)));
}

Environment without(Environment environment, std::string_view name) {
    environment.erase(environment.find(name));
    return environment;
}

Environment with(Environment environment, std::string name, std::string value) {
    environment.insert_or_assign(std::move(name), std::move(value));
    return environment;
}

const Environment kTorchrun{{"RANK", "3"},
                            {"WORLD_SIZE", "4"},
                            {"LOCAL_RANK", "1"},
                            {"LOCAL_WORLD_SIZE", "2"},
                            {"MASTER_ADDR", "node-0"},
                            {"MASTER_PORT", "29500"}};
const Environment kMpirun{{"OMPI_COMM_WORLD_RANK", "1"},
                          {"OMPI_COMM_WORLD_SIZE", "4"},
                          {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                          {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                          {"PMIX_NAMESPACE", "1234@1"}};
const Environment kSrun{{"SLURM_STEP_ID", "0"},   {"SLURM_STEP_NUM_TASKS", "7"},
                        {"SLURM_PROCID", "6"},    {"SLURM_LOCALID", "0"},
                        {"SLURM_NODEID", "3"},    {"SLURM_STEP_TASKS_PER_NODE", "2(x3),1"},
                        {"SLURM_JOB_ID", "4711"}, {"MASTER_ADDR", "node-0"}};

TEST(ProcessesTest, RunsAloneWithoutALauncher) {
    const Processes found = find_in({{"PATH", "/bin"}, {"RANK", ""}});
    EXPECT_EQ(found.launcher, "none");
    EXPECT_EQ(found.world, 1);
    EXPECT_EQ(found.rank, 0);
}

TEST(ProcessesTest, ReadsTorchrun) {
    const Processes found = find_in(kTorchrun);
    EXPECT_EQ(found.launcher, "torchrun");
    EXPECT_EQ(found.rank, 3);
    EXPECT_EQ(found.world, 4);
    EXPECT_EQ(found.local_rank, 1);
    EXPECT_EQ(found.local_world, 2);
    EXPECT_EQ(found.store_host, "node-0");
    EXPECT_EQ(found.store_port, 29500);
}

TEST(ProcessesTest, LeavesMasterPortToTorchrunsAgent) {
    EXPECT_EQ(find_in(with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True")).store_port, 29501);
    EXPECT_EQ(find_in(with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "False")).store_port, 29500);
    expect_refused(with(with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True"), "MASTER_PORT", "65535"),
                   "MASTER_PORT=65535: must be from 1 to 65534");
}

TEST(ProcessesTest, PrefersTorchrunToMpirunToSrun) {
    Environment all = kTorchrun;
    all.insert(kMpirun.begin(), kMpirun.end());
    all.insert(kSrun.begin(), kSrun.end());
    EXPECT_EQ(find_in(all).launcher, "torchrun");
    Environment two = kMpirun;
    two.insert(kSrun.begin(), kSrun.end());
    EXPECT_EQ(find_in(two).launcher, "mpirun");
}

TEST(ProcessesTest, GivesOneNodeOfMpirunAPortOfItsJob) {
    const Processes found = find_in(kMpirun);
    EXPECT_EQ(found.launcher, "mpirun");
    EXPECT_EQ(found.rank, 1);
    EXPECT_EQ(found.local_world, 4);
    EXPECT_EQ(found.store_host, "127.0.0.1");
    EXPECT_GE(found.store_port, 15000);
    EXPECT_LT(found.store_port, 30000);
    EXPECT_EQ(find_in(with(kMpirun, "OMPI_COMM_WORLD_RANK", "2")).store_port, found.store_port);
    EXPECT_NE(find_in(with(kMpirun, "PMIX_NAMESPACE", "1235@1")).store_port, found.store_port);
    EXPECT_EQ(find_in(with(kMpirun, "MASTER_PORT", "4000")).store_port, 4000);
}

TEST(ProcessesTest, ReadsTheTasksOfEachNodeAsSlurmWritesThem) {
    const Processes found = find_in(kSrun);
    EXPECT_EQ(found.launcher, "srun");
    EXPECT_EQ(found.rank, 6);
    EXPECT_EQ(found.world, 7);
    EXPECT_EQ(found.local_world, 1);
    EXPECT_EQ(found.store_host, "node-0");
    EXPECT_EQ(find_in(with(kSrun, "SLURM_NODEID", "2")).local_world, 2);
    expect_refused(with(kSrun, "SLURM_NODEID", "4"), "SLURM_STEP_TASKS_PER_NODE=2(x3),1: must list");
    expect_refused(with(kSrun, "SLURM_STEP_TASKS_PER_NODE", "2(x3"), "must list");
    expect_refused(with(kSrun, "SLURM_STEP_TASKS_PER_NODE", "2(xa)"), "must be a number");
}

// Two steps of one job are two runs: neither may take in the other's processes.
TEST(ProcessesTest, TellsTheStepsOfAJobApart) {
    const Processes first = find_in(kSrun);
    const Processes second = find_in(with(kSrun, "SLURM_STEP_ID", "1"));
    EXPECT_NE(first.store_port, second.store_port);
    EXPECT_EQ(first.run, "srun 4711.0");
    EXPECT_EQ(second.run, "srun 4711.1");
    EXPECT_EQ(find_in(with(kSrun, "SLURM_PROCID", "5")).run, first.run);
    EXPECT_EQ(find_in(kTorchrun).run, "torchrun with MASTER_PORT=29500");
}

TEST(ProcessesTest, ReadsMpiexec) {
    const Environment mpiexec{{"PMI_RANK", "3"},        {"PMI_SIZE", "8"},         {"MPI_LOCALRANKID", "1"},
                              {"MPI_LOCALNRANKS", "2"}, {"MASTER_ADDR", "node-0"}, {"MASTER_PORT", "4000"}};
    const Processes found = find_in(mpiexec);
    EXPECT_EQ(found.launcher, "mpiexec");
    EXPECT_EQ(found.rank, 3);
    EXPECT_EQ(found.world, 8);
    EXPECT_EQ(found.local_rank, 1);
    EXPECT_EQ(found.local_world, 2);
    expect_refused(without(mpiexec, "MASTER_PORT"), "MASTER_PORT: is not set");
    expect_refused(without(mpiexec, "PMI_RANK"), "PMI_RANK: is not set");
}

// Each of eight processes would take itself for the only one.
TEST(ProcessesTest, RefusesALauncherThatSaysTooLittle) {
    expect_refused({{"PMI_RANK", "3"}, {"PMI_SIZE", "8"}}, "MPI_LOCALRANKID: is not set, but PMI_SIZE is 8");
    EXPECT_EQ(find_in({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}).launcher, "none");
    Environment under_slurm = with(with(kSrun, "PMI_RANK", "6"), "PMI_SIZE", "7");
    EXPECT_EQ(find_in(under_slurm).launcher, "srun");
}

TEST(ProcessesTest, TakesABatchScriptForOneProcess) {
    EXPECT_EQ(find_in(without(kSrun, "SLURM_STEP_ID")).launcher, "none");
}

TEST(ProcessesTest, RequiresMasterAddrAcrossNodes) {
    for (const Environment& environment : {without(kTorchrun, "MASTER_ADDR"), without(kSrun, "MASTER_ADDR"),
                                           with(kMpirun, "OMPI_COMM_WORLD_LOCAL_SIZE", "2")})
        expect_refused(environment, "MASTER_ADDR: is required where the processes are on several nodes");
    EXPECT_EQ(find_in(with(with(without(kTorchrun, "MASTER_ADDR"), "WORLD_SIZE", "2"), "RANK", "1")).store_host,
              "127.0.0.1");
}

TEST(ProcessesTest, RefusesHalfASet) {
    for (const std::string_view name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"})
        expect_refused(without(kTorchrun, name), std::string{name} + ": is not set");
    expect_refused(without(kTorchrun, "LOCAL_WORLD_SIZE"), "LOCAL_WORLD_SIZE: must be set");
    for (const std::string_view name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"})
        expect_refused(without(kMpirun, name), std::string{name} + ": is not set");
    for (const std::string_view name : {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"})
        expect_refused(without(kSrun, name), std::string{name} + ": is not set");
}

TEST(ProcessesTest, RefusesWhatIsNoRankOfTheWorld) {
    expect_refused(with(kTorchrun, "RANK", "4"), "RANK=4: must be from 0 to 3");
    expect_refused(with(kTorchrun, "RANK", "-1"), "RANK=-1");
    expect_refused(with(kTorchrun, "RANK", "1x"), "RANK=1x: must be a number");
    expect_refused(with(kTorchrun, "WORLD_SIZE", "0"), "WORLD_SIZE=0");
    expect_refused(with(kTorchrun, "WORLD_SIZE", "99999999999999999999"), "must be a number");
    expect_refused(with(kTorchrun, "LOCAL_RANK", "2"), "LOCAL_RANK=2: must be below the processes of this node");
    expect_refused(with(kTorchrun, "LOCAL_WORLD_SIZE", "5"), "LOCAL_WORLD_SIZE=5");
    expect_refused(with(kTorchrun, "MASTER_PORT", "65536"), "MASTER_PORT=65536");
}

}  // namespace
}  // namespace shardproof::gpu
