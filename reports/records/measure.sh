#!/usr/bin/env bash
# measure.sh BIN COMMIT GPU_HASH OUT.jsonl PART...: runs parts of the GPU evidence with the programs in BIN, on a machine with
# a GPU, and appends records. Parts:
#   tests[=gpu|=props]     the whole GPU suite, and the device tests of props; or one of them
#   processes              those GPU tests alone that start a process a rank
#   fuzz=SEED:CASES        random cases over NCCL
#   mutants                what fuzz must kill
#   bench                  the MoE layer and its stages
#   sanitizer=TOOL[:I/N]   memcheck, synccheck or racecheck over the tests of kernels and of windows with 2 ranks; of N
#                          shares the I-th, from 1
#   sanitizers             all three, whole
#   launchers              4 processes on one GPU under mpirun and torchrun, with SHARDPROOF_NCCL and with the system's NCCL
# A tool runs each test in a process of its own, JOBS at a time (as many as cores), and what has not ended after LIMIT seconds
# (560) is recorded as not run or failed. KEEP_LOGS=DIR keeps what the programs printed. FILTER=PATTERNS replaces the tools'
# choice of tests.
set -uo pipefail
shopt -s nullglob
bin=$1 commit=$2 hash=$3 out=$4
shift 4
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
work=${KEEP_LOGS:-$(mktemp -d)}
if [[ -z ${KEEP_LOGS:-} ]]; then trap 'rm -rf -- "$work"' EXIT; fi
mkdir -p -- "$work"
kernels='*GroupedGemmLaws*:Dispatch*:Elementwise*:Router*:Rows*'
windows='*WindowsWorlds*/of_2'
filter=${FILTER:-$kernels:$windows}
no_seed='fixed in the tests'

record() { python3 "$here/record.py" "$1" "$commit" "$hash" "$out" "${@:2}"; }
say() { printf '%s: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# json_or_error FILE STATUS LOG: what a program wrote, or how it ended without.
json_or_error() {
    if [[ -s $1 ]]; then cat -- "$1"; else
        # A record names no folder of the machine.
        python3 -c 'import json, re, sys
said = re.sub(r"/(work|root|home|tmp)/\S*/", "", sys.stdin.read())[-400:]
print(json.dumps({"ok": False, "exit": int(sys.argv[1]), "said": said}))' "$2" < "$3"
    fi
}

# tests PROGRAM ARGS...: a GoogleTest run as one JSON object.
tests() {
    local name=$1
    shift
    rm -f -- "$work/$name.json"
    "$bin/$name" --gtest_output="json:$work/$name.json" "$@" > "$work/$name.log" 2>&1
    local status=$?
    if [[ ! -s $work/$name.json ]]; then
        json_or_error "$work/$name.json" "$status" "$work/$name.log" | record tests --seed "$no_seed"
        say "$name: exit $status, and no report"
        return
    fi
    python3 - "$work/$name.json" "$name" "$status" "$*" << 'PY' | record tests --seed "$no_seed"
import json, sys
report = json.load(open(sys.argv[1]))
tests = [(s["name"] + "." + t["name"], t) for s in report["testsuites"] for t in s["testsuite"]]
skipped = [n for n, t in tests if t.get("result") == "SKIPPED"]
failed = [n for n, t in tests if "failures" in t]
print(json.dumps({"program": sys.argv[2], "arguments": sys.argv[4], "exit": int(sys.argv[3]), "tests": len(tests),
                  "failed": failed, "skipped": skipped, "seconds": float(report["time"].rstrip("s"))}))
PY
    say "$name: exit $status"
}

# names FILTER: the full names of gpu_test's tests, one a line.
names() {
    "$bin/gpu_test" --gtest_list_tests --gtest_filter="$1" |
        awk '/^[^ ]/ { suite = $1 } /^ / { print suite $1 }'
}

# sanitizer TOOL SHARE: SHARE is I/N.
sanitizer() {
    local tool=$1 share=$2 begun=$SECONDS limit=${LIMIT:-560} logs="$work/$1.${2/\//of}"
    mkdir -p -- "$logs"
    rm -f -- "$logs"/*.log
    names "$filter" | awk -v i="${share%/*}" -v n="${share#*/}" 'NR % n == i % n' > "$logs/names"
    # The longest come first in the list, so that no core waits for one of them at the end.
    timeout -k 5 "$limit" xargs -d '\n' -a "$logs/names" -P "${JOBS:-$(nproc)}" -n 1 bash -c '
        quiet=()
        # NCCL asks for functions and kernels that are not there, and goes on; what our own calls answer throws.
        if [[ $2 == memcheck && $4 == *Windows* ]]; then quiet=(--report-api-errors no); fi
        compute-sanitizer --tool "$2" "${quiet[@]}" --error-exitcode 9 "$1/gpu_test" --gtest_filter="$4" \
            > "$3/$(tr / _ <<< "$4").log" 2>&1 || true' test "$bin" "$tool" "$logs"
    local ended=$?
    printf '{"tool":"%s","share":"%s","out_of_time":%s,"seconds":%d,"filter":"%s"}' "$tool" "$share" \
        "$([[ $ended == 124 ]] && echo true || echo false)" $((SECONDS - begun)) "$filter" |
        python3 "$here/test_names.py" "$logs/names" "$logs"/*.log > "$logs/summary.json"
    say "$tool $share: exit $?, $(grep -c . "$logs/names") tests, $((SECONDS - begun)) s"
    record sanitizer --seed "$no_seed" < "$logs/summary.json"
}

# launched_check FILE DISPATCHER LAUNCHER...: check of 4 ranks, each a process of the launcher's, with the NCCL of FILE, or
# with the system's where FILE is empty.
launched_check() {
    local file=$1 dispatcher=$2 kind=$3 json="$work/$3.json" log="$work/$3.log"
    shift 2
    rm -f -- "$json"
    (cd -- "$here/../.." && SHARDPROOF_NCCL=$file "$@" "$bin/shardproof" check oracle/golden/demo --dp-shard 2 --tp 2 --ep 4 \
        --seed 0 --backend gpu --dispatcher "$dispatcher" --deadline 20 --json "$json") > "$log" 2>&1
    local status=$?
    say "$kind, 4 processes, ${file:+given }${file:-system} NCCL, $dispatcher: exit $status"
    json_or_error "$json" "$status" "$log" | SHARDPROOF_NCCL=$file record "$kind" --seed 0
}
mpirun4=(mpirun --allow-run-as-root --oversubscribe -np 4)
torchrun4=(torchrun --standalone --nproc-per-node 4 --no-python)

for part in "$@"; do
    case $part in
        tests | tests=gpu | tests=props)
            if [[ $part != *props ]]; then tests gpu_test; fi
            if [[ $part != *gpu ]]; then tests props_test --gtest_filter='*Device*'; fi
            ;;
        processes)
            tests gpu_test --gtest_filter='*NcclProcessesTest*:*WindowsProcessesTest*'
            ;;
        fuzz=*)
            IFS=:= read -r _ seed cases <<< "$part"
            rm -f -- "$work/fuzz.json"
            "$bin/shardproof" fuzz --backend gpu --transport nccl --deadline 20 --seed "$seed" --cases "$cases" --json "$work/fuzz.json" \
                > "$work/fuzz.log" 2>&1
            status=$?
            say "fuzz seed $seed: exit $status"
            tail -n 3 "$work/fuzz.log" >&2
            json_or_error "$work/fuzz.json" "$status" "$work/fuzz.log" | record fuzz --seed "$seed"
            ;;
        mutants)
            rm -f -- "$work/mutants.json"
            "$bin/shardproof" fuzz --backend gpu --transport loopback --deadline 5 --mutants --seed 5 --json "$work/mutants.json" \
                > "$work/mutants.log" 2>&1
            status=$?
            say "mutants: exit $status"
            tail -n 12 "$work/mutants.log" >&2
            json_or_error "$work/mutants.json" "$status" "$work/mutants.log" | record mutants --seed 5
            ;;
        bench)
            "$bin/moe_layer_bench" --out "$work/bench.jsonl" 2>&1 | tail -n 60 >&2
            record bench < "$work/bench.jsonl"
            ;;
        sanitizers)
            for tool in memcheck synccheck racecheck; do sanitizer "$tool" 1/1; done
            ;;
        sanitizer=*)
            IFS=:= read -r _ tool share <<< "$part"
            sanitizer "$tool" "${share:-1/1}"
            ;;
        launchers)
            if [[ -n ${SHARDPROOF_NCCL:-} ]]; then
                launched_check "$SHARDPROOF_NCCL" send-receive "${mpirun4[@]}"
                launched_check "$SHARDPROOF_NCCL" windows "${mpirun4[@]}"
                launched_check "$SHARDPROOF_NCCL" send-receive "${torchrun4[@]}"
            fi
            launched_check '' send-receive "${mpirun4[@]}"
            ;;
        *)
            say "no such part: $part"
            exit 2
            ;;
    esac
done
