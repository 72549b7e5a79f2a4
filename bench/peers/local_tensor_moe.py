"""The MoE layer of E experts under torch's LocalTensorMode: every rank's values in one process, as scale_bench has them.

    local_tensor_moe.py [--ranks 16] [--dim 64] [--hidden 64] [--experts 32] [--top-k 4] [--tokens 8] [--forwards 20]

One thread, f32, expert parallelism over all ranks. The layer is written as torchtitan 0.3.0 writes it
(models/common/moe.py, distributed/expert_parallel.py): router, counts exchanged, rows exchanged, rows sorted by expert,
SwiGLU of each expert, rows sent back, weighted sum. Its answer is checked against the same layer without ranks before
anything is timed. Prints one line of JSON: seconds of set-up, milliseconds a forward (median;
wall clock, and of the process alone, which a busy machine disturbs less), and of the maths alone.
"""
import argparse
import json
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed import _functional_collectives as funcol
from torch.distributed._local_tensor import LocalTensor, LocalTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore


def route(x, gate, top_k):
    weights, ids = torch.topk(torch.softmax(x @ gate.T, dim=-1), top_k, dim=-1)
    return weights / weights.sum(dim=-1, keepdim=True), ids


def swiglu(x, w1, w2, w3):
    return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def whole_layer(x, gate, w1, w2, w3, top_k):
    """Without ranks: each expert's rows in one product."""
    weights, ids = route(x, gate, top_k)
    out = torch.zeros_like(x)
    for e in range(w1.shape[0]):
        row, choice = torch.where(ids == e)
        if len(row):
            out.index_add_(0, row, weights[row, choice, None] * swiglu(x[row], w1[e], w2[e], w3[e]))
    return out


def rank_layer(x, gate, w1, w2, w3, top_k, num_experts, group):
    """As a rank's program: x [n,D] its own rows, w1 w2 w3 its own experts."""
    ranks = dist.get_world_size(group)
    local = num_experts // ranks
    weights, ids = route(x, gate, top_k)
    flat = ids.flatten()
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=num_experts)
    arriving = funcol.all_to_all_single(counts, None, None, group).wait()
    to = [n.item() for n in counts.view(ranks, local).sum(dim=1)]
    come = [n.item() for n in arriving.view(ranks, local).sum(dim=1)]
    rows = x[order // top_k]
    rows = funcol.all_to_all_single(rows, come, to, group).wait()
    # Source-major, inside each source expert-major: experts want them expert-major.
    expert = torch.arange(local).repeat(ranks)
    by_expert = torch.argsort(torch.repeat_interleave(expert, arriving), stable=True)
    rows = rows[by_expert]
    sizes = [n.item() for n in arriving.view(ranks, local).sum(dim=0)]
    parts, first = [], 0
    for e, size in enumerate(sizes):
        parts.append(swiglu(rows.narrow(0, first, size), w1[e], w2[e], w3[e]))
        first = first + size
    worked = torch.zeros_like(rows).index_copy(0, by_expert, torch.cat(parts))
    back = funcol.all_to_all_single(worked, to, come, group).wait()
    ordered = torch.zeros_like(back).index_copy(0, order, back)
    return (ordered.view(x.shape[0], top_k, -1) * weights[..., None]).sum(dim=1)


def main():
    parser = argparse.ArgumentParser()
    for name, value in [("ranks", 16), ("dim", 64), ("hidden", 64), ("experts", 32), ("top-k", 4), ("tokens", 8),
                        ("forwards", 20)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    begun = time.perf_counter()
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=a.ranks)
    mesh = dist.device_mesh.init_device_mesh("cpu", (a.ranks,), mesh_dim_names=("ep",))
    gate = torch.randn(a.experts, a.dim) / a.dim**0.5
    w1, w3 = (torch.randn(a.experts, a.hidden, a.dim) / a.dim**0.5 for _ in range(2))
    w2 = torch.randn(a.experts, a.dim, a.hidden) / a.hidden**0.5
    x = torch.randn(a.ranks, a.tokens, a.dim)
    local = a.experts // a.ranks

    def per_rank(of):
        return LocalTensor({r: of(r) for r in range(a.ranks)})

    with torch.no_grad(), LocalTensorMode(a.ranks):
        mine = [per_rank(lambda r, w=w: w[r * local : (r + 1) * local].clone()) for w in (w1, w2, w3)]
        rows, same = per_rank(lambda r: x[r].clone()), per_rank(lambda r: gate.clone())

        def forward():
            return rank_layer(rows, same, *mine, a.top_k, a.experts, mesh.get_group())

        out = forward()
        setup = time.perf_counter() - begun
        seconds, cpu_seconds = [], []
        for _ in range(a.forwards):
            begun, cpu_begun = time.perf_counter(), time.process_time()
            forward()
            seconds.append(time.perf_counter() - begun)
            cpu_seconds.append(time.process_time() - cpu_begun)
        answer = [out._local_tensors[r].clone() for r in range(a.ranks)]
    with torch.no_grad():
        want = whole_layer(x.view(-1, a.dim), gate, w1, w2, w3, a.top_k)
        error = (torch.cat(answer) - want).abs().max().item()
        assert error < 1e-4, f"LocalTensorMode's layer is not the layer: {error}"
        maths = []
        for _ in range(a.forwards):
            begun = time.perf_counter()
            whole_layer(x.view(-1, a.dim), gate, w1, w2, w3, a.top_k)
            maths.append(time.perf_counter() - begun)
    print(json.dumps({**vars(a), "torch": torch.__version__, "setup_s": round(setup, 3),
                      "forward_ms": round(1e3 * statistics.median(seconds), 3),
                      "forward_cpu_ms": round(1e3 * statistics.median(cpu_seconds), 3),
                      "maths_ms": round(1e3 * statistics.median(maths), 3), "max_error": error}))


if __name__ == "__main__":
    main()
