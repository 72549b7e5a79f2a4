#!/usr/bin/env bash
# compare.sh BUILD PYTHON: the MoE layer on virtual ranks beside torch's LocalTensorMode, on this machine in one run, one
# thread each. BUILD holds bin/scale_bench; PYTHON has torch 2.11. Three rounds, turn by turn; the least of each counts,
# by the process's own time, which a busy machine disturbs less than the clock on the wall.
set -euo pipefail
(($# == 2)) || { echo "usage: compare.sh BUILD PYTHON" >&2; exit 2; }
bench=$1/bin/scale_bench python=$2
say() { printf 'compare.sh: %s\n' "$*" >&2; }
[[ -x $bench ]] || { say "$bench: must be built: ninja -C $1 scale_bench"; exit 2; }
"$python" -c 'import torch' > /dev/null 2>&1 || { say "$python: must import torch (2.11)"; exit 3; }
peer=$(dirname -- "${BASH_SOURCE[0]}")/local_tensor_moe.py
export OMP_NUM_THREADS=1

# row RANKS DIM HIDDEN EXPERTS TOKENS FORWARDS
row() {
    local ours=() theirs=() line round
    for round in 1 2 3; do
        line=$("$python" "$peer" --ranks "$1" --dim "$2" --hidden "$3" --experts "$4" --tokens "$5" --forwards "$6" 2> /dev/null)
        theirs+=("$line")
        line=$("$bench" --benchmark_format=json \
            --benchmark_filter="^MoeLayer/ranks:$1/dim:$2/hidden:$3/experts:$4/tokens:$5\$" 2> /dev/null)
        ours+=("$line")
    done
    "$python" - "${ours[@]}" "${theirs[@]}" <<'PYTHON'
import json, sys
ours = [json.loads(text)["benchmarks"][0] for text in sys.argv[1:4]]
theirs = [json.loads(text) for text in sys.argv[4:7]]
size = theirs[0]
cpu, peer_cpu = min(o["cpu_time"] for o in ours), min(t["forward_cpu_ms"] for t in theirs)
wall, peer_wall = min(o["real_time"] for o in ours), min(t["forward_ms"] for t in theirs)
setup, peer_setup = min(o["setup_s"] for o in ours), min(t["setup_s"] for t in theirs)
print(f"{size['ranks']} ranks, dim {size['dim']}, hidden {size['hidden']}, E {size['experts']}, K {size['top_k']}, "
      f"{size['tokens']} tokens a rank: {cpu:.2f} ms of CPU ({wall:.2f} wall) against {peer_cpu:.1f} ({peer_wall:.1f}), "
      f"{peer_cpu / cpu:.1f} times; set-up {setup:.2f} s against {peer_setup:.1f} s")
PYTHON
}
row 16 64 64 32 8 20
row 16 256 512 32 64 10
row 256 64 64 512 8 2
