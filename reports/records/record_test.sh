#!/usr/bin/env bash
# record_test.sh: what record.py and test_names.py write, from what tools print. Exit 77 without python3.
set -euo pipefail
command -v python3 > /dev/null || exit 77
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failed=0

# expect WHAT WANT GOT
expect() {
    [[ $2 == "$3" ]] && return
    printf '%s:\n  wanted %s\n  got    %s\n' "$1" "$2" "$3" >&2
    failed=1
}

mkdir "$work/bin"
cat > "$work/bin/nvidia-smi" << 'SMI'
#!/bin/sh
case "$*" in
*query-gpu*) echo "NVIDIA H200, 580.159.04" ;;
*) echo "| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: 13.0     |" ;;
esac
SMI
printf '#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.48"\n' > "$work/bin/nvcc"
chmod +x "$work/bin/nvidia-smi" "$work/bin/nvcc"

record() { PATH="$work/bin:$PATH" SHARDPROOF_NCCL="$work/none.so" python3 "$here/record.py" "$1" abc 0123 "$work/out.jsonl" "${@:2}"; }
# of NUMBER EXPRESSION: of the record of that number, as `r`.
of() { python3 -c 'import json, sys; r = json.loads(open(sys.argv[1]).readlines()[int(sys.argv[2])]); print(eval(sys.argv[3]))' \
    "$work/out.jsonl" "$1" "$2"; }

printf '{"laws":{"gpu.windows.layer":5,"gpu.windows.integers":7,"gpu.send-receive.layer":9,"no-crash":9},
    "traits":{"rows between ranks by windows":4,"tp":1}}' | record fuzz --seed 3
printf '{"median_us":1.5,"seed":1}\n{"median_us":2.5,"seed":1}\n' | record bench
printf '{"tests":2}' | record tests --seed 'fixed in the tests'

expect "one record a document" 4 "$(wc -l < "$work/out.jsonl")"
expect "fields" "cases_by_dispatcher commit cuda cuda_toolkit date driver gpu gpu_hash kind machine nccl result seed" \
    "$(of 0 '" ".join(sorted(r))')"
expect "fields of others" "commit cuda cuda_toolkit date driver gpu gpu_hash kind machine nccl result seed" \
    "$(of 1 '" ".join(sorted(r))')"
expect "where it ran" "('fuzz', 'abc', '0123', 'NVIDIA H200', '580.159.04', '13.0', '13.0', None)" \
    "$(of 0 '(r["kind"], r["commit"], r["gpu_hash"], r["gpu"], r["driver"], r["cuda"], r["cuda_toolkit"], r["nccl"])')"
expect "counts by dispatcher" "{'windows': {'cases': 7, 'with_rows_between_ranks': 4}, 'send-receive': {'cases': 9, 'with_rows_between_ranks': 0}}" \
    "$(of 0 'r["cases_by_dispatcher"]')"
expect "seeds" "3 1 fixed in the tests" "$(of 0 'r["seed"]') $(of 2 'r["seed"]') $(of 3 'r["seed"]')"
expect "document" "{'median_us': 2.5, 'seed': 1}" "$(of 2 'r["result"]')"

# A NCCL as the program would find it.
if command -v cc > /dev/null; then
    echo 'int ncclGetVersion(int* v) { *v = 23203; return 0; }' > "$work/nccl.c"
    cc -shared -fPIC -o "$work/nccl.so" "$work/nccl.c"
    printf '{}' | SHARDPROOF_NCCL="$work/nccl.so" python3 "$here/record.py" tests abc 0123 "$work/nccl.jsonl" --seed 1
    expect "NCCL" 2.32.3 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["nccl"])' "$work/nccl.jsonl")"
fi

# What sanitized tests came to: by name, and nothing hidden.
printf 'S.Passes\nS.Fails\nS.Skips\nS.Crashes\nS.Leaks\nS.NeverBegan\nS.CutOff\n' > "$work/names"
clean='========= ERROR SUMMARY: 0 errors'
printf '[ RUN      ] S.Passes\n[       OK ] S.Passes (5 ms)\n%s\n' "$clean" > "$work/a.log"
printf '[ RUN      ] S.Fails\n[  FAILED  ] S.Fails, where GetParam() = 2 (1 ms)\n[  FAILED  ] S.Fails\n%s\n' "$clean" > "$work/b.log"
printf '[ RUN      ] S.Skips\n[  SKIPPED ] S.Skips (0 ms)\n%s\n' "$clean" > "$work/c.log"
printf '[ RUN      ] S.Crashes\n' > "$work/d.log"
printf '[ RUN      ] S.Leaks\n[       OK ] S.Leaks (5 ms)\n========= RACECHECK SUMMARY: 3 hazards displayed\n' > "$work/e.log"
printf '[ RUN      ] S.CutOff\n[       OK ] S.CutOff (5 ms)\n' > "$work/f.log" # no summary: the tool itself was ended
status=0
printf '{"tool":"memcheck"}' | python3 "$here/test_names.py" "$work/names" "$work"/[a-f].log > "$work/summary" || status=$?
expect "exit status" 1 "$status"
expect "what became of each" '{"tool": "memcheck", "passed": ["S.Passes"], "failed": ["S.Fails", "S.Crashes", "S.Leaks", "S.CutOff"], "skipped": ["S.Skips"], "not_run": ["S.NeverBegan"], "findings": 3}' \
    "$(cat "$work/summary")"
exit "$failed"
