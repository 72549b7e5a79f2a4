#!/usr/bin/env bash
# run.sh DIR NAME DICTIONARY OPTION...: DIR/fuzz_NAME with libFuzzer's OPTIONs, from the seeds in DIR/seeds/NAME. More than
# 2 GiB is a finding, and a minute (2 s of processor time are one as well: the target sees to that). What is new goes to
# the first folder among OPTIONs, else it is dropped. A finding stays in DIR, and its name is printed.
set -euo pipefail
dir=$1 name=$2 dictionary=$3
shift 3
new=$(mktemp -d)
trap 'rm -rf -- "$new"' EXIT
for option in "$@"; do [[ $option == -* ]] || mkdir -p -- "$option"; done
# Without a shadow of the stack, and with short traces, it runs twice as fast.
export ASAN_OPTIONS=detect_stack_use_after_return=0:malloc_context_size=4
"$dir/fuzz_$name" -dict="$dictionary" -timeout=60 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
    -error_exitcode=1 -timeout_exitcode=1 -artifact_prefix="$dir/finding-$name-" "$@" "$new" "$dir/seeds/$name" 2>&1 | tail -n 40
