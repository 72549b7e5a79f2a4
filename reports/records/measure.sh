#!/usr/bin/env bash
# measure.sh BIN COMMIT GPU_HASH OUT.jsonl PART...: runs parts of the GPU evidence with the programs in BIN, on a machine with
# a GPU, and appends records. Parts: tests, fuzz=SEED:CASES, mutants, bench, sanitizers, mpirun.
set -uo pipefail
bin=$1 commit=$2 hash=$3 out=$4
shift 4
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
work=${KEEP_LOGS:-$(mktemp -d)} # KEEP_LOGS=DIR keeps what the programs printed
if [[ -z ${KEEP_LOGS:-} ]]; then trap 'rm -rf -- "$work"' EXIT; fi
kernels='Dispatch*:Elementwise*:Router*:Rows*:*GroupedGemmLaws*'

record() { python3 "$here/record.py" "$1" "$commit" "$hash" "$out"; }
say() { printf '%s: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# summary PROGRAM ARGS...: a GoogleTest run as one JSON object.
tests() {
    local name=$1
    shift
    "$bin/$name" --gtest_output="json:$work/$name.json" "$@" > "$work/$name.log" 2>&1
    local status=$?
    python3 - "$work/$name.json" "$name" "$status" << 'PY' | record tests
import json, sys
report = json.load(open(sys.argv[1]))
tests = [(s["name"] + "." + t["name"], t) for s in report["testsuites"] for t in s["testsuite"]]
skipped = [n for n, t in tests if t.get("result") == "SKIPPED"]
failed = [n for n, t in tests if "failures" in t]
print(json.dumps({"program": sys.argv[2], "exit": int(sys.argv[3]), "tests": len(tests), "failed": failed,
                  "skipped": skipped, "seconds": float(report["time"].rstrip("s"))}))
PY
    say "$name: exit $status"
}

# sanitizer TOOL: over the kernel tests, in eight processes, each its share.
sanitizer() {
    local tool=$1 shards=8 shard status=0 begun=$SECONDS
    for ((shard = 0; shard < shards; ++shard)); do
        GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$bin/gpu_test" --gtest_filter="$kernels" > "$work/$tool.$shard.log" 2>&1 &
    done
    for job in $(jobs -p); do wait "$job" || status=$?; done
    local passed
    passed=$(cat "$work/$tool".*.log | grep -c '^\[       OK \]')
    printf '{"tool":"%s","exit":%d,"tests_passed":%d,"seconds":%d,"filter":"%s"}' "$tool" "$status" "$passed" \
        $((SECONDS - begun)) "$kernels" | record sanitizer
    say "$tool: exit $status, $passed tests passed"
}

for part in "$@"; do
    case $part in
        tests)
            tests gpu_test
            tests props_test --gtest_filter='*Device*'
            ;;
        fuzz=*)
            IFS=:= read -r _ seed cases <<< "$part"
            "$bin/shardproof" fuzz --backend gpu --transport nccl --deadline 20 --seed "$seed" --cases "$cases" --json "$work/fuzz.json" \
                > "$work/fuzz.log" 2>&1
            say "fuzz seed $seed: exit $?"
            tail -n 3 "$work/fuzz.log" >&2
            record fuzz < "$work/fuzz.json"
            ;;
        mutants)
            "$bin/shardproof" fuzz --backend gpu --transport loopback --deadline 5 --mutants --seed 5 --json "$work/mutants.json" \
                > "$work/mutants.log" 2>&1
            say "mutants: exit $?"
            tail -n 12 "$work/mutants.log" >&2
            record mutants < "$work/mutants.json"
            ;;
        bench)
            "$bin/moe_layer_bench" --out "$work/bench.jsonl" 2>&1 | tail -n 60 >&2
            record bench < "$work/bench.jsonl"
            ;;
        sanitizers)
            for tool in memcheck synccheck racecheck; do sanitizer "$tool"; done
            ;;
        mpirun)
            (cd -- "$here/../.." && mpirun --allow-run-as-root --oversubscribe -np 4 "$bin/shardproof" check oracle/golden/demo \
                --dp-shard 2 --tp 2 --ep 4 --backend gpu --deadline 20 --json "$work/mpirun.json") > "$work/mpirun.log" 2>&1
            say "mpirun -np 4: exit $?"
            record mpirun < "$work/mpirun.json"
            ;;
        *)
            say "no such part: $part"
            exit 2
            ;;
    esac
done
