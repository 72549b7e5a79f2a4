#!/usr/bin/env bash
# The include-direction check must see what it is there for: offences planted in a record of dependencies and in sources.
set -euo pipefail
check=$(dirname -- "${BASH_SOURCE[0]}")/include_direction.sh
root=$(mktemp -d)
trap 'rm -rf -- "$root"' EXIT
mkdir -p "$root/sim/layers" "$root/oracle/model" "$root/build"
record=$root/record

# expect STATUS TEXT: the check on what was planted ends with STATUS and prints TEXT.
expect() {
    local status=0 printed
    printed=$(bash "$check" "$root" "$root/build" "$record") || status=$?
    if [[ $status != "$1" || $printed != *"$2"* ]]; then
        printf 'expected exit %s and "%s", got exit %s and:\n%s\n' "$1" "$2" "$status" "$printed"
        exit 1
    fi
}
# record UNIT DEPENDENCY...: a record of one translation unit.
record() {
    printf 'x.o: #deps 2, deps mtime 1 (VALID)\n' > "$record"
    printf '    %s\n' "$@" '' >> "$record"
}

record "$root/sim/world.cpp" "$root/oracle/model/ids.hpp" /usr/include/c++/12/vector
expect 0 '1 translation units'
record "$root/sim/world.cpp" "$root/oracle/judge.hpp"
expect 1 'sim/world.cpp includes oracle/judge.hpp'
record "$root/sim/layers/experts.cpp" ../sim/layers/../../oracle/experts.hpp
expect 1 'sim/layers/experts.cpp includes oracle/experts.hpp'
record "$root/build/headers/sim/world.hpp.cpp" "$root/oracle/judge.hpp"
expect 1 'sim/world.hpp includes oracle/judge.hpp'
record "$root/oracle/judge.cpp" "$root/sim/plan/plan.hpp"
expect 1 'oracle/judge.cpp includes sim/plan/plan.hpp'
record "$root/oracle/model/config.cpp" /usr/include/eigen3/Eigen/Dense
expect 1 'oracle/model/config.cpp includes /usr/include/eigen3/Eigen/Dense'
printf 'x.o: #deps 1, deps mtime 1 (STALE)\n    %s\n' "$root/sim/world.cpp" > "$record"
expect 1 'no translation unit'

# Text alone: a line that no build has compiled yet.
record "$root/sim/world.cpp" "$root/oracle/model/ids.hpp"
printf '#  include "oracle/router.hpp"\n' > "$root/sim/layers/new.cpp"
expect 1 'sim/layers/new.cpp includes oracle/router.hpp'
