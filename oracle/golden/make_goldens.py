#!/usr/bin/env python3
"""Makes the tiny checkpoints of this folder and records what transformers answers, wholly in float64.

    python make_goldens.py [NAME ...]        versions: see README.md

Each case becomes a folder: config.json, model file(s) in the published layout, golden.safetensors with input_ids [B,S]
and logits [B,S,V]. A case is only written when its router gaps are wide, the logits repeat under other batches, and
every switch of its config moves them.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import llama4
import qwen3_moe
from cases import CASES
from float64 import Widen

HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = {"qwen3_moe": qwen3_moe, "llama4": llama4}
GAP_MIN = 1e-4  # of scores, between the last chosen expert and the first rejected one
MOVED_MIN = 1e-7  # of the largest logit, when a switch is altered: 1,000 times what the oracle is allowed
REPEAT_MAX = 2e-14


def family_of(case):
    return FAMILIES[case["family"]]


def write_checkpoint(case, tensors, folder):
    if case["spelling"] == "published":
        text = json.dumps(case["config"], indent=2) + "\n"
        (folder / "config.json").write_text(text)
    else:
        family_of(case).save_config(case, folder)
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


def open_model(family, folder, **altered):
    """The public model in float64, its rotary frequencies computed anew in float64."""
    config = family.read_config(folder)
    for name, value in altered.items():
        setattr(family.text_config(config), name, value)
    model, info = family.model_class(config).from_pretrained(
        folder, config=config, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v and not (k == "missing_keys" and altered)}
    assert not wrong, wrong
    model.eval()
    family.finish(model)
    assert all(p.dtype == torch.float64 for p in model.parameters())
    return model


@torch.no_grad()
def logits_of(model, ids):
    with Widen():
        return model(input_ids=ids, use_cache=False).logits


def router_report(family, model, ids):
    """Smallest gap of scores over all tokens and layers, and whether every expert is chosen somewhere."""
    gaps, chosen = [], []

    def hook(router, _, out):
        scores, best = family.scores(router, out)
        scores = scores.sort(-1, descending=True).values
        gaps.append((scores[:, router.top_k - 1] - scores[:, router.top_k]).min().item())
        chosen.append(set(best.flatten().tolist()))

    handles = [router.register_forward_hook(hook) for router in family.routers(model)]
    logits_of(model, ids)
    for handle in handles:
        handle.remove()
    return min(gaps), set.union(*chosen) == set(range(family.num_experts(model)))


def distance(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def check_invariances(family, folder, ids, want):
    """Another batch order, single rows, a repeated batch; a prefix, where frequencies do not depend on the length."""
    model = open_model(family, folder)
    order = list(range(len(ids)))[::-1]
    seen = {"order": distance(logits_of(model, ids[order])[order], want),
            "row": max(distance(logits_of(model, ids[i : i + 1])[0], want[i]) for i in range(len(ids))),
            "twice": distance(logits_of(model, torch.cat([ids, ids]))[len(ids) :], want)}
    if not family.looks_at_the_length(model):
        half = ids.shape[1] // 2
        seen["prefix"] = distance(logits_of(model, ids[:, :half]), want[:, :half])
    assert max(seen.values()) < REPEAT_MAX, seen
    return max(seen.values())


def check_switches(family, folder, ids, want):
    """Every switch of the config and every tensor must matter; the least that any of them moves."""
    moved = {}
    text_config = family.text_config(family.read_config(folder))
    for name, altered in family.altered_configs(text_config, ids.shape[1]).items():
        moved[name] = distance(logits_of(open_model(family, folder, **altered), ids), want)
    model = open_model(family, folder)
    for name, parameter in model.named_parameters():
        if not family.matters(name):
            continue
        kept = parameter.data
        # Not a mere factor: the norms of queries and keys would take it out again.
        parameter.data = torch.ones_like(kept) if "norm" in name else kept + 0.1 * kept.roll(1, -1)
        moved[name] = distance(logits_of(model, ids), want)
        parameter.data = kept
    text = family.language_model(model)
    if not text.config.tie_word_embeddings:
        text.lm_head.weight.data = text.model.embed_tokens.weight.data
        moved["tie_word_embeddings"] = distance(logits_of(model, ids), want)
    lazy = {k: v for k, v in moved.items() if not v > MOVED_MIN}
    assert not lazy, lazy
    return min(moved.items(), key=lambda item: item[1])


def make(name, case):
    family = family_of(case)
    for seed in range(case["seed"], case["seed"] + 500):
        rng = np.random.default_rng(seed)
        tensors = family.draw_tensors(case, rng)
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            write_checkpoint(case, tensors, folder)
            ids = torch.tensor(rng.integers(0, family.vocab_size(case), case["ids"]))
            model = open_model(family, folder)
            gap, all_chosen = router_report(family, model, ids)
            if gap <= GAP_MIN or not all_chosen:
                continue
            family.check_weights(model, tensors)
            want = logits_of(open_model(family, folder), ids)
            repeat = check_invariances(family, folder, ids, want)
            weakest = check_switches(family, folder, ids, want)
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
