#!/usr/bin/env python3
"""Makes the tiny Qwen3-MoE checkpoints of this folder and records what transformers answers, wholly in float64.

    python make_goldens.py [NAME ...]        versions: see README.md

Each case becomes a folder: config.json, model file(s) in the published layout, golden.safetensors with input_ids [B,S]
and logits [B,S,V]. A case is only written when its router gaps are wide, the logits repeat under other batches, and
every switch of its config moves them.
"""
import copy
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cases import CASES

HERE = pathlib.Path(__file__).resolve().parent
NARROW = (torch.float32, torch.float16, torch.bfloat16)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
GAP_MIN = 1e-4  # of scores, between the last chosen expert and the first rejected one
MOVED_MIN = 1e-7  # of the largest logit, when a switch is altered: 1,000 times what the oracle is allowed
REPEAT_MAX = 2e-14


def wide(value):
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value


class Widen(TorchFunctionMode):
    """Every request for a narrower floating dtype becomes float64; an operation that still yields one raises."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.double
        out = func(*map(wide, args), **{k: wide(v) for k, v in (kwargs or {}).items()})
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype in NARROW:
                raise AssertionError(f"{func} yields {tensor.dtype}")
        return out


def moe_layer(config, layer):
    return layer not in config["mlp_only_layers"] and (layer + 1) % config["decoder_sparse_step"] == 0


def draw_tensors(case, rng):
    """Fan-in scaled values under the published names; norms around 1."""
    config, dtype = case["config"], DTYPES[case["config"]["torch_dtype"]]
    hidden, heads, kv_heads = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    head_dim = config.get("head_dim", hidden // heads)
    out = {}

    def matrix(name, rows, cols, gain=1.0):
        out[name] = torch.tensor(rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)).to(dtype)

    def norm(name, size):
        out[name] = torch.tensor(1.0 + 0.3 * rng.standard_normal(size)).to(dtype)

    def mlp(prefix, width):
        matrix(f"{prefix}.gate_proj.weight", width, hidden, 1.5)
        matrix(f"{prefix}.up_proj.weight", width, hidden, 1.5)
        matrix(f"{prefix}.down_proj.weight", hidden, width, 1.5)

    matrix("model.embed_tokens.weight", config["vocab_size"], hidden, np.sqrt(hidden) * case.get("embedding_gain", 1.0))
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        norm(f"{at}.input_layernorm.weight", hidden)
        matrix(f"{at}.self_attn.q_proj.weight", heads * head_dim, hidden)
        matrix(f"{at}.self_attn.k_proj.weight", kv_heads * head_dim, hidden)
        matrix(f"{at}.self_attn.v_proj.weight", kv_heads * head_dim, hidden, 1.5)
        matrix(f"{at}.self_attn.o_proj.weight", hidden, heads * head_dim, 1.5)
        norm(f"{at}.self_attn.q_norm.weight", head_dim)
        norm(f"{at}.self_attn.k_norm.weight", head_dim)
        norm(f"{at}.post_attention_layernorm.weight", hidden)
        if moe_layer(config, layer):
            matrix(f"{at}.mlp.gate.weight", config["num_experts"], hidden, 1.2)
            for expert in range(config["num_experts"]):
                mlp(f"{at}.mlp.experts.{expert}", config["moe_intermediate_size"])
        else:
            mlp(f"{at}.mlp", config["intermediate_size"])
    norm("model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        matrix("lm_head.weight", config["vocab_size"], hidden)
    elif case.get("tied_head_in_file"):
        out["lm_head.weight"] = out["model.embed_tokens.weight"].clone()
    return out


def write_checkpoint(case, tensors, folder):
    if case["spelling"] == "published":
        text = json.dumps(case["config"], indent=2) + "\n"
        (folder / "config.json").write_text(text)
    else:
        config = Qwen3MoeConfig(**copy.deepcopy(case["config"]))
        config.save_pretrained(folder)
    meta = {"format": "pt"}
    if case["files"] == 1:
        save_file(tensors, folder / "model.safetensors", metadata=meta)
        return
    names, weight_map = list(tensors), {}
    for part in range(case["files"]):
        file = f"model-{part + 1:05}-of-{case['files']:05}.safetensors"
        mine = names[len(names) * part // case["files"] : len(names) * (part + 1) // case["files"]]
        save_file({n: tensors[n] for n in mine}, folder / file, metadata=meta)
        weight_map |= {n: file for n in mine}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def open_model(folder, **altered):
    """The public model in float64, its rotary frequencies computed anew in float64."""
    config = Qwen3MoeConfig.from_pretrained(folder)
    for name, value in altered.items():
        setattr(config, name, value)
    model, info = Qwen3MoeForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v and not (k == "missing_keys" and altered)}
    assert not wrong, wrong
    model.eval()
    rotary = model.model.rotary_emb
    init = ROPE_INIT_FUNCTIONS.get(rotary.rope_type, rotary.compute_default_rope_parameters)
    with Widen():
        frequencies, rotary.attention_scaling = init(model.config)
    rotary.register_buffer("inv_freq", frequencies, persistent=False)
    rotary.register_buffer("original_inv_freq", frequencies.clone(), persistent=False)
    assert all(p.dtype == torch.float64 for p in model.parameters())
    return model


@torch.no_grad()
def logits_of(model, ids):
    with Widen():
        return model(input_ids=ids, use_cache=False).logits


def check_weights(model, tensors):
    """The public loader fused the experts: what it holds must be what was written."""
    held = model.state_dict()
    for name, tensor in tensors.items():
        if ".experts." not in name:
            assert torch.equal(held[name], tensor.double()), name
            continue
        layer, _, rest = name.partition(".experts.")
        expert, projection, _ = rest.split(".")
        fused = held[f"{layer}.experts.{'down_proj' if projection == 'down_proj' else 'gate_up_proj'}"][int(expert)]
        half = tensor.shape[0]
        part = {"down_proj": fused, "gate_proj": fused[:half], "up_proj": fused[half:]}[projection]
        assert torch.equal(part, tensor.double()), name


def router_report(model, ids):
    """Smallest gap of scores over all tokens and layers, and whether every expert is chosen somewhere."""
    gaps, chosen = [], []

    def hook(gate, _, out):
        scores = torch.softmax(out[0], -1).sort(-1, descending=True).values
        gaps.append((scores[:, gate.top_k - 1] - scores[:, gate.top_k]).min().item())
        chosen.append(set(out[2].flatten().tolist()))

    handles = [l.mlp.gate.register_forward_hook(hook) for l in model.model.layers if hasattr(l.mlp, "gate")]
    logits_of(model, ids)
    for handle in handles:
        handle.remove()
    return min(gaps), set.union(*chosen) == set(range(model.config.num_experts))


def distance(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def check_invariances(folder, ids, want):
    """Another batch order, single rows, a repeated batch; a prefix, where frequencies do not depend on the length."""
    model = open_model(folder)
    order = list(range(len(ids)))[::-1]
    seen = {"order": distance(logits_of(model, ids[order])[order], want),
            "row": max(distance(logits_of(model, ids[i : i + 1])[0], want[i]) for i in range(len(ids))),
            "twice": distance(logits_of(model, torch.cat([ids, ids]))[len(ids) :], want)}
    if model.model.rotary_emb.rope_type != "dynamic":
        half = ids.shape[1] // 2
        seen["prefix"] = distance(logits_of(model, ids[:, :half]), want[:, :half])
    assert max(seen.values()) < REPEAT_MAX, seen
    return max(seen.values())


def altered_configs(config):
    """One entry a switch: attributes to set on the config, same tensors."""
    rope = dict(config.rope_parameters)
    out = {"norm_topk_prob": {"norm_topk_prob": not config.norm_topk_prob},
           "rms_norm_eps": {"rms_norm_eps": 2 * config.rms_norm_eps},
           "num_experts_per_tok": {"num_experts_per_tok": config.num_experts_per_tok + 1},
           "rope_theta": {"rope_parameters": rope | {"rope_theta": 2 * rope["rope_theta"]}}}
    if rope["rope_type"] != "default":
        out["rope_type"] = {"rope_parameters": {"rope_type": "default", "rope_theta": rope["rope_theta"]}}
    for key in set(rope) - {"rope_type", "rope_theta", "type"}:
        value = (not rope[key]) if isinstance(rope[key], bool) else 2 * rope[key]
        out[f"rope.{key}"] = {"rope_parameters": rope | {key: value}}
    if rope["rope_type"] == "dynamic":
        out["max_position_embeddings"] = {"max_position_embeddings": config.max_position_embeddings + 1}
    if rope["rope_type"] == "yarn" and "attention_factor" in rope:
        out.pop("rope.mscale", None), out.pop("rope.mscale_all_dim", None)
    return out


def check_switches(folder, ids, want):
    """Every switch of the config and every tensor must matter; the least that any of them moves."""
    moved = {}
    for name, altered in altered_configs(open_model(folder).config).items():
        moved[name] = distance(logits_of(open_model(folder, **altered), ids), want)
    model = open_model(folder)
    for name, parameter in model.named_parameters():
        kept = parameter.data
        # Not a mere factor: the norms of queries and keys would take it out again.
        parameter.data = torch.ones_like(kept) if "norm" in name else kept + 0.1 * kept.roll(1, -1)
        moved[name] = distance(logits_of(model, ids), want)
        parameter.data = kept
    if not model.config.tie_word_embeddings:
        model.lm_head.weight.data = model.model.embed_tokens.weight.data
        moved["tie_word_embeddings"] = distance(logits_of(model, ids), want)
    lazy = {k: v for k, v in moved.items() if not v > MOVED_MIN}
    assert not lazy, lazy
    return min(moved.items(), key=lambda item: item[1])


def make(name, case):
    for seed in range(case["seed"], case["seed"] + 500):
        rng = np.random.default_rng(seed)
        tensors = draw_tensors(case, rng)
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            write_checkpoint(case, tensors, folder)
            ids = torch.tensor(rng.integers(0, case["config"]["vocab_size"], case["ids"]))
            model = open_model(folder)
            gap, all_chosen = router_report(model, ids)
            if gap <= GAP_MIN or not all_chosen:
                continue
            check_weights(model, tensors)
            want = logits_of(open_model(folder), ids)
            repeat = check_invariances(folder, ids, want)
            weakest = check_switches(folder, ids, want)
            # One key: the writer does not keep the order of several.
            versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
            save_file({"input_ids": ids, "logits": want.contiguous()}, folder / "golden.safetensors",
                      metadata={"origin": f"case {name}, seed {seed}, {versions}"})
            target = HERE / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder, target)
        size = sum(f.stat().st_size for f in target.iterdir())
        print(f"{name}: seed {seed}, gap {gap:.1e}, repeats to {repeat:.0e}, "
              f"weakest switch {weakest[0]} {weakest[1]:.1e}, largest logit {want.abs().max():.2f}, {size / 1024:.0f} KiB", flush=True)
        return
    raise AssertionError(f"{name}: no seed gives router gaps above {GAP_MIN}")


def main(names):
    torch.set_default_dtype(torch.float64)  # integer tensors divide into this one
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in names or CASES:
        make(name, CASES[name])


if __name__ == "__main__":
    main(sys.argv[1:])
