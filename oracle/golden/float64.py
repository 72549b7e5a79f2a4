"""A forward wholly in float64: what the public code computes in a narrower type is widened."""
import torch
from torch.overrides import TorchFunctionMode
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)


def wide(value):
    if isinstance(value, torch.dtype) and value in NARROW:
        return torch.complex128 if value.is_complex else torch.float64
    return value


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


def widen_rotary(rotary, config):
    """The rotary frequencies are computed when the model is built, in float32: here anew."""
    init = ROPE_INIT_FUNCTIONS.get(rotary.rope_type, rotary.compute_default_rope_parameters)
    with Widen():
        frequencies, rotary.attention_scaling = init(config)
    rotary.register_buffer("inv_freq", frequencies, persistent=False)
    rotary.register_buffer("original_inv_freq", frequencies.clone(), persistent=False)


def altered_rope(rope):
    """One entry a word of rope_parameters."""
    out = {"rope_theta": rope | {"rope_theta": 2 * rope["rope_theta"]}}
    if rope["rope_type"] != "default":
        out["rope_type"] = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
    for key in sorted(set(rope) - {"rope_type", "rope_theta", "type"}):
        value = (not rope[key]) if isinstance(rope[key], bool) else 2 * rope[key]
        out[f"rope.{key}"] = rope | {key: value}
    if rope["rope_type"] == "yarn" and "attention_factor" in rope:
        out.pop("rope.mscale", None), out.pop("rope.mscale_all_dim", None)
    return {name: {"rope_parameters": value} for name, value in out.items()}
