#!/usr/bin/env python3
"""Writes megatron.json and vllm.json: what each rank of some layouts holds, by the peers' own algorithms (README.md).

Ranks are visited one by one and told their coordinates; groups are whatever ranks share all other coordinates. No mesh,
no strides: nothing here is shared with the program that is tested.
"""
import itertools
import json
import pathlib

HERE = pathlib.Path(__file__).parent
ORDER = "tp-cp-ep-dp-pp"  # fastest first


def divide(a, b):
    assert a % b == 0, (a, b)
    return a // b


def runs(indices):
    """Ascending neighbours joined: [[begin, end), ...] in the order given."""
    out = []
    for i in indices:
        if out and out[-1][1] == i:
            out[-1][1] = i + 1
        else:
            out.append([i, i + 1])
    return out


# ---- Megatron-Core -----------------------------------------------------------------------------------------------


def coordinates(world, sizes):
    """Rank -> coordinate on each axis of ORDER; the first axis varies fastest."""
    order = ORDER.split("-")
    table = []
    # product() varies its last factor fastest
    for at in itertools.product(*[range(sizes[name]) for name in reversed(order)]):
        table.append(dict(zip(reversed(order), at)))
    assert len(table) == world, (len(table), world)
    return table


def groups_of(table, names):
    """Ranks that agree on every axis but `names`, each group in rank order, groups by first rank."""
    found = {}
    for rank, at in enumerate(table):
        key = tuple(at[name] for name in at if name not in names)
        found.setdefault(key, []).append(rank)
    return sorted(found.values())


def megatron(model, tp=1, cp=1, dp=1, pp=1, ep=1, etp=None):
    world = tp * cp * dp * pp
    etp = tp if etp is None else etp  # expert_tensor_parallel_size defaults to tensor_model_parallel_size
    expert_dp = divide(world, etp * ep * pp)
    decoder = coordinates(world, {"tp": tp, "cp": cp, "ep": 1, "dp": dp, "pp": pp})
    expert = coordinates(world, {"tp": etp, "cp": 1, "ep": ep, "dp": expert_dp, "pp": pp})
    groups = {
        "tp": groups_of(decoder, ["tp"]),
        "cp": groups_of(decoder, ["cp"]),
        "batch": groups_of(decoder, ["dp"]),
        "fsdp": groups_of(decoder, ["dp", "cp"]),
        "pp": groups_of(decoder, ["pp"]),
        "etp": groups_of(expert, ["tp"]),
        "ep": groups_of(expert, ["ep"]),
        "efsdp": groups_of(expert, ["dp"]),
    }
    assert groups["pp"] == groups_of(expert, ["pp"])
    layout = {"dp_shard": dp, "cp": cp, "tp": tp, "pp": pp, "ep": ep, "etp": etp}
    case = {"model": model, "layout": layout, "groups": groups, "index": {}}
    if pp == 1:
        case["index"] = megatron_shards(model, decoder, expert, tp, ep, etp)
    return case


def part(extent, size, rank):
    each = divide(extent, size)
    return list(range(rank * each, (rank + 1) * each))


def add_shards(index, m, rows, q, kv, experts, width):
    """One rank's indices of each parameter, behind those of the ranks before it."""
    d = list(range(m["D"]))
    shards = {
        "tok_embeddings.weight": [rows, d],
        "lm_head.weight": [rows, d],
        "layers.0.attention.wq.weight": [q, d],
        "layers.0.attention.wk.weight": [kv, d],
        "layers.0.attention.wv.weight": [kv, d],
        "layers.0.attention.wo.weight": [d, q],
        "layers.0.moe.router.gate.weight": [list(range(m["E"])), d],
        "layers.0.moe.experts.w1": [experts, width, d],
        "layers.0.moe.experts.w2": [experts, d, width],
        "layers.0.moe.experts.w3": [experts, width, d],
    }
    for name, dims in shards.items():
        index.setdefault(name, []).append([runs(i) for i in dims])


def megatron_shards(m, decoder, expert, tp, ep, etp):
    multiple = 128 * tp
    padded = m["V"]
    while padded % multiple:
        padded += 1
    index = {}
    for rank in range(len(decoder)):
        t = decoder[rank]["tp"]
        e, x = expert[rank]["ep"], expert[rank]["tp"]
        rows = [i for i in part(padded, tp, t) if i < m["V"]]
        # local_expert_indices = ep_rank * num_local_experts + i
        local = divide(m["E"], ep)
        experts = [e * local + i for i in range(local)]
        width = part(m["F"], etp, x)
        q, kv = part(m["H"] * m["hd"], tp, t), part(m["KV"] * m["hd"], tp, t)
        add_shards(index, m, rows, q, kv, experts, width)
    return index


# ---- vLLM --------------------------------------------------------------------------------------------------------


def expert_ids_of(ep_size, ep_rank, num_experts, strategy):
    """determine_expert_map: ascending ids of one rank's experts."""
    base, remainder = num_experts // ep_size, num_experts % ep_size
    local = base + 1 if ep_rank < remainder else base
    if strategy == "linear":
        start = ep_rank * base + min(ep_rank, remainder)
        ids = list(range(start, start + local))
    else:
        ids = list(range(ep_rank, num_experts, ep_size))
    assert len(ids) == local
    return ids


def vllm(model, dp=1, tp=1, enable_expert_parallel=False, strategy="linear", physical_to_logical=None):
    m = model
    world = dp * tp
    use_ep = world > 1 and enable_expert_parallel
    padded = (m["V"] + 63) // 64 * 64
    index = {}
    for rank in range(world):
        dp_rank, tp_rank = rank // tp, rank % tp
        flat_size, flat_rank = dp * tp, dp_rank * tp + tp_rank
        heads = divide(m["H"], tp)
        q = list(range(tp_rank * heads * m["hd"], (tp_rank + 1) * heads * m["hd"]))
        if tp >= m["KV"]:
            kv_heads, replicas = 1, divide(tp, m["KV"])
        else:
            kv_heads, replicas = divide(m["KV"], tp), 1
        size = kv_heads * m["hd"]
        shard_id = tp_rank // replicas
        kv = list(range(shard_id * size, (shard_id + 1) * size))
        each = divide(padded, tp)
        rows = list(range(min(tp_rank * each, m["V"]), min((tp_rank + 1) * each, m["V"])))
        if use_ep and physical_to_logical is not None:
            slots = divide(len(physical_to_logical), flat_size)
            experts = physical_to_logical[flat_rank * slots : (flat_rank + 1) * slots]
            width = list(range(m["F"]))
        elif use_ep:
            experts = expert_ids_of(flat_size, flat_rank, m["E"], strategy)
            width = list(range(m["F"]))
        else:
            experts = list(range(m["E"]))
            each = divide(m["F"], flat_size)
            width = list(range(flat_rank * each, (flat_rank + 1) * each))
        add_shards(index, m, rows, q, kv, experts, width)
    every = list(range(world))
    groups = {
        "tp": [every[i : i + tp] for i in range(0, world, tp)],
        "batch": [every[i::tp] for i in range(tp)],
        "ep": [every] if use_ep else [[r] for r in every],
        "etp": [[r] for r in every] if use_ep else [every],
    }
    layout = {"dp_shard": dp, "tp": tp, "ep": world if use_ep else 1}
    options = {"strategy": strategy, "physical_to_logical_map": physical_to_logical}
    return {"model": model, "layout": layout, "options": options, "groups": groups, "index": index}


def initial_map(num_experts, num_redundant):
    """EplbState.build_initial_global_physical_to_logical_map."""
    return list(range(num_experts)) + [i % num_experts for i in range(num_redundant)]


def sizes(**other):
    return dict({"E": 8, "D": 16, "H": 8, "KV": 4, "hd": 6, "F": 24, "V": 250}, **other)


MEGATRON = [
    megatron(sizes()),
    megatron(sizes(), tp=2, dp=2),
    megatron(sizes(), tp=2, dp=2, ep=2),
    megatron(sizes(), tp=2, dp=2, ep=2, etp=1),
    megatron(sizes(), tp=2, dp=4, ep=8, etp=1),
    megatron(sizes(), tp=4, dp=2, ep=2, etp=2),
    megatron(sizes(), tp=4, dp=2, ep=4, etp=1),
    megatron(sizes(), tp=1, dp=8, ep=2, etp=4),
    megatron(sizes(), tp=2, cp=2, dp=2, ep=4, etp=2),
    megatron(sizes(), tp=2, cp=2, dp=2, ep=8, etp=1),
    megatron(sizes(), tp=2, cp=2, dp=2, pp=2, ep=4, etp=1),
    megatron(sizes(), tp=4, cp=2, dp=2, pp=2, ep=2, etp=2),
    megatron(sizes(E=6, V=1000), tp=2, dp=3, ep=3, etp=2),
    megatron(sizes(E=6, F=12), tp=1, cp=3, dp=2, ep=2, etp=3),
    megatron(sizes(H=8, V=513), tp=4, dp=1, ep=1, etp=1),
]
VLLM = [
    vllm(sizes()),
    vllm(sizes(), dp=2, tp=2),
    vllm(sizes(), dp=3, tp=2),
    vllm(sizes(), dp=1, tp=8),
    vllm(sizes(KV=2), dp=2, tp=4),
    vllm(sizes(KV=1, V=128), dp=1, tp=4),
    vllm(sizes(), dp=2, tp=2, enable_expert_parallel=True),
    vllm(sizes(), dp=2, tp=2, enable_expert_parallel=True, strategy="round_robin"),
    vllm(sizes(E=10), dp=2, tp=2, enable_expert_parallel=True),
    vllm(sizes(E=10), dp=2, tp=2, enable_expert_parallel=True, strategy="round_robin"),
    vllm(sizes(E=30), dp=4, tp=2, enable_expert_parallel=True),
    vllm(sizes(E=30), dp=4, tp=2, enable_expert_parallel=True, strategy="round_robin"),
    vllm(sizes(E=7), dp=6, tp=1, enable_expert_parallel=True),
    vllm(sizes(E=7, V=1000, KV=2), dp=1, tp=4, enable_expert_parallel=True),
    vllm(sizes(), dp=2, tp=2, enable_expert_parallel=True, physical_to_logical=initial_map(8, 4)),
    vllm(sizes(E=10), dp=4, tp=1, enable_expert_parallel=True, physical_to_logical=initial_map(10, 2)),
    vllm(sizes(E=4), dp=2, tp=1, enable_expert_parallel=True, physical_to_logical=[3, 1, 0, 2, 0, 3]),
]


def write(name, cases):
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text("[\n" + text + "\n]\n")


if __name__ == "__main__":
    write("megatron.json", MEGATRON)
    write("vllm.json", VLLM)
