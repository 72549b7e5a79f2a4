// What the exit codes mean: the contract's table.
#pragma once

namespace shardproof::reports {

enum ExitCode : int {
    exit_ok = 0,           // done, and everything that was checked holds
    exit_failed = 1,       // a check failed
    exit_bad_input = 2,    // a wrong option or command included
    exit_environment = 3,  // something is missing: GPU, memory, disk
    exit_bug = 70,         // a broken invariant of this program (sysexits' EX_SOFTWARE)
};

}  // namespace shardproof::reports
