"""Records placements.json: what torch 2.11's FSDP2 and DTensor make of the demo model's parameters on 8 ranks (dp_shard 4,
tp 2, ep 4), read from the parameters by the lines that the README shows. A fake process group: nothing is communicated.

    export.py CONFIG_JSON > placements.json
"""
import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore


def add(root, name, tensor):
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    return root


def text(p):
    if p.is_replicate() or p.is_partial():
        return "R" if p.is_replicate() else "P"
    return f"SS({p.dim},{p.split_factor})" if hasattr(p, "split_factor") else f"S({p.dim})"


def export(model, file):
    params = []
    for name, t in model.named_parameters():
        axes = t.device_mesh.mesh_dim_names
        params.append({"name": name, "shape": list(t.shape),
                       "mesh": "sparse" if {"ep", "efsdp"} & set(axes) else "dense",
                       "placements": dict(zip(axes, map(text, t.placements)))})
    file.write('{"params": [\n' + ",\n".join(map(json.dumps, params)) + "\n]}\n")


def main():
    c = json.load(open(sys.argv[1]))
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    dense = dist.init_device_mesh("cpu", (4, 2), mesh_dim_names=("fsdp", "tp"))
    sparse = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("efsdp", "ep"))
    model, experts = nn.Module(), []
    d, v, f, e = c["hidden_size"], c["vocab_size"], c["moe_intermediate_size"], c["num_experts"]
    hd = c["head_dim"]
    q, kv = c["num_attention_heads"] * hd, c["num_key_value_heads"] * hd

    def put(name, shape, dim=None):  # dim: cut over tp; None: replicated
        whole = torch.zeros(shape, dtype=torch.bfloat16)
        add(model, name, distribute_tensor(whole, dense["tp"], [Replicate() if dim is None else Shard(dim)]))

    put("tok_embeddings.weight", (v, d), 0)
    for i in range(c["num_hidden_layers"]):
        p = f"layers.{i}."
        put(p + "attention_norm.weight", (d,))
        for name, rows in (("wq", q), ("wk", kv), ("wv", kv)):
            put(p + f"attention.{name}.weight", (rows, d), 0)
        put(p + "attention.wo.weight", (d, q), 1)
        put(p + "attention.q_norm.weight", (hd,))
        put(p + "attention.k_norm.weight", (hd,))
        put(p + "ffn_norm.weight", (d,))
        if i in c["mlp_only_layers"] or (i + 1) % c["decoder_sparse_step"]:
            for name, dim in (("w1", 0), ("w2", 1), ("w3", 0)):
                rows, cols = (d, c["intermediate_size"]) if name == "w2" else (c["intermediate_size"], d)
                put(p + f"feed_forward.{name}.weight", (rows, cols), dim)
            continue
        put(p + "moe.router.gate.weight", (e, d))
        for name in ("w1", "w2", "w3"):
            whole = torch.zeros((e, d, f) if name == "w2" else (e, f, d), dtype=torch.bfloat16)
            holder = add(model, p + f"moe.experts.{name}", distribute_tensor(whole, sparse["ep"], [Shard(0)]))
        experts.append(holder)
    put("norm.weight", (d,))
    if not c["tie_word_embeddings"]:
        put("lm_head.weight", (v, d), 0)
    for module in experts:
        fully_shard(module, mesh=sparse["efsdp"])
    fully_shard(model, mesh=dense["fsdp"])
    export(model, sys.stdout)


if __name__ == "__main__":
    main()
