"""Qwen3-MoE: its tensors in the published layout, and its switches."""
import copy

import numpy as np
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from drawing import Draw
from float64 import altered_rope, widen_rotary


def moe_layer(config, layer):
    return layer not in config["mlp_only_layers"] and (layer + 1) % config["decoder_sparse_step"] == 0


def draw_tensors(case, rng):
    config = case["config"]
    draw = Draw(rng, config["torch_dtype"])
    hidden, heads, kv_heads = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    head_dim = config.get("head_dim", hidden // heads)

    def mlp(prefix, width):
        draw.matrix(f"{prefix}.gate_proj.weight", width, hidden, 1.5)
        draw.matrix(f"{prefix}.up_proj.weight", width, hidden, 1.5)
        draw.matrix(f"{prefix}.down_proj.weight", hidden, width, 1.5)

    draw.matrix("model.embed_tokens.weight", config["vocab_size"], hidden,
                np.sqrt(hidden) * case.get("embedding_gain", 1.0))
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        draw.norm(f"{at}.input_layernorm.weight", hidden)
        draw.matrix(f"{at}.self_attn.q_proj.weight", heads * head_dim, hidden)
        draw.matrix(f"{at}.self_attn.k_proj.weight", kv_heads * head_dim, hidden)
        draw.matrix(f"{at}.self_attn.v_proj.weight", kv_heads * head_dim, hidden, 1.5)
        draw.matrix(f"{at}.self_attn.o_proj.weight", hidden, heads * head_dim, 1.5)
        draw.norm(f"{at}.self_attn.q_norm.weight", head_dim)
        draw.norm(f"{at}.self_attn.k_norm.weight", head_dim)
        draw.norm(f"{at}.post_attention_layernorm.weight", hidden)
        if moe_layer(config, layer):
            draw.matrix(f"{at}.mlp.gate.weight", config["num_experts"], hidden, 1.2)
            for expert in range(config["num_experts"]):
                mlp(f"{at}.mlp.experts.{expert}", config["moe_intermediate_size"])
        else:
            mlp(f"{at}.mlp", config["intermediate_size"])
    draw.norm("model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        draw.matrix("lm_head.weight", config["vocab_size"], hidden)
    elif case.get("tied_head_in_file"):
        draw.tensors["lm_head.weight"] = draw.tensors["model.embed_tokens.weight"].clone()
    return draw.tensors


def save_config(case, folder):
    Qwen3MoeConfig(**copy.deepcopy(case["config"])).save_pretrained(folder)


def vocab_size(case):
    return case["config"]["vocab_size"]


def read_config(folder):
    return Qwen3MoeConfig.from_pretrained(folder)


def text_config(config):
    return config


def model_class(config):
    return Qwen3MoeForCausalLM


def language_model(model):
    return model


def finish(model):
    widen_rotary(model.model.rotary_emb, model.config)


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


def routers(model):
    return [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]


def scores(router, out):
    """Of all experts, and the ids chosen."""
    return torch.softmax(out[0], -1), out[2]


def num_experts(model):
    return model.config.num_experts


def looks_at_the_length(model):
    return model.model.rotary_emb.rope_type == "dynamic"


def matters(parameter_name):
    return True


def altered_configs(config, length):
    """One entry a switch: attributes to set on the config, same tensors."""
    rope = dict(config.rope_parameters)
    out = {"norm_topk_prob": {"norm_topk_prob": not config.norm_topk_prob},
           "rms_norm_eps": {"rms_norm_eps": 2 * config.rms_norm_eps},
           "num_experts_per_tok": {"num_experts_per_tok": config.num_experts_per_tok + 1}} | altered_rope(rope)
    if rope["rope_type"] == "dynamic":
        out["max_position_embeddings"] = {"max_position_embeddings": config.max_position_embeddings + 1}
    return out
