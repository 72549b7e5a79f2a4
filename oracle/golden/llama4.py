"""Llama 4: its tensors in the published layout, alone or nested beside a vision model, and its switches."""
import copy
import json

import numpy as np
import torch
from transformers import Llama4Config, Llama4ForCausalLM, Llama4ForConditionalGeneration, Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4MultiModalProjector, Llama4VisionModel

from drawing import Draw
from float64 import altered_rope, widen_rotary

VISION = ("vision_model.", "multi_modal_projector.")


def is_nested(case):
    return "text_config" in case["config"]


def text_of(case):
    return case["config"]["text_config"] if is_nested(case) else case["config"]


def moe_layer(config, layer):
    if config.get("moe_layers") is not None:
        return layer in config["moe_layers"]
    return (layer + 1) % config["interleave_moe_layer_step"] == 0


def draw_tensors(case, rng):
    config = text_of(case)
    draw = Draw(rng, config["torch_dtype"])
    prefix = "language_model." if is_nested(case) else ""
    hidden, heads, kv_heads, head_dim, width, experts = (
        config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
                            "intermediate_size", "num_local_experts"))

    def mlp(at, size):
        draw.matrix(f"{at}.gate_proj.weight", size, hidden, 1.5)
        draw.matrix(f"{at}.up_proj.weight", size, hidden, 1.5)
        draw.matrix(f"{at}.down_proj.weight", hidden, size, 1.5)

    draw.matrix(f"{prefix}model.embed_tokens.weight", config["vocab_size"], hidden, np.sqrt(hidden))
    for layer in range(config["num_hidden_layers"]):
        at = f"{prefix}model.layers.{layer}"
        draw.norm(f"{at}.input_layernorm.weight", hidden)
        draw.matrix(f"{at}.self_attn.q_proj.weight", heads * head_dim, hidden)
        draw.matrix(f"{at}.self_attn.k_proj.weight", kv_heads * head_dim, hidden)
        draw.matrix(f"{at}.self_attn.v_proj.weight", kv_heads * head_dim, hidden, 1.5)
        draw.matrix(f"{at}.self_attn.o_proj.weight", hidden, heads * head_dim, 1.5)
        draw.norm(f"{at}.post_attention_layernorm.weight", hidden)
        at += ".feed_forward"
        if moe_layer(config, layer):
            draw.matrix(f"{at}.router.weight", experts, hidden, 1.2)
            draw.turned(f"{at}.experts.gate_up_proj", experts, hidden, 2 * width, 1.5)
            draw.turned(f"{at}.experts.down_proj", experts, width, hidden, 1.5)
            mlp(f"{at}.shared_expert", width)
        else:
            mlp(at, config["intermediate_size_mlp"])
    draw.norm(f"{prefix}model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        draw.matrix(f"{prefix}lm_head.weight", config["vocab_size"], hidden)
    if is_nested(case):
        draw_vision(case, draw)
    return draw.tensors


def config_of(fields):
    """Published configs have a number for a switch of which transformers 5 wants true or false."""
    fields = copy.deepcopy(fields)
    text = fields.get("text_config", fields)
    text["attn_temperature_tuning"] = bool(text["attn_temperature_tuning"])
    return (Llama4TextConfig if text is fields else Llama4Config).from_dict(fields)


def draw_vision(case, draw):
    """Every tensor that the vision model of the config has, of any values."""
    config = config_of(case["config"])
    parts = {"vision_model.": Llama4VisionModel(config.vision_config),
             "multi_modal_projector.": Llama4MultiModalProjector(config)}
    for prefix, part in parts.items():
        for name, tensor in part.state_dict().items():
            draw.put(prefix + name, 0.1 * draw.rng.standard_normal(tuple(tensor.shape)))


def save_config(case, folder):
    config_of(case["config"]).save_pretrained(folder)


def vocab_size(case):
    return text_of(case)["vocab_size"]


def read_config(folder):
    return config_of(json.loads((folder / "config.json").read_text()))


def text_config(config):
    return config.get_text_config()


def model_class(config):
    return Llama4ForConditionalGeneration if isinstance(config, Llama4Config) else Llama4ForCausalLM


def language_model(model):
    return model.language_model if isinstance(model, Llama4ForConditionalGeneration) else model


def finish(model):
    text = language_model(model)
    widen_rotary(text.model.rotary_emb, text.config)


def check_weights(model, tensors):
    held = model.state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(held[name], tensor.double()), name


def routers(model):
    layers = language_model(model).model.layers
    return [layer.feed_forward.router for layer in layers if hasattr(layer.feed_forward, "router")]


def scores(router, out):
    """Of all experts, and the ids chosen."""
    return torch.sigmoid(out[1]), out[1].topk(router.top_k, dim=1).indices


def num_experts(model):
    return language_model(model).config.num_local_experts


def looks_at_the_length(model):
    return False


def matters(parameter_name):
    return not parameter_name.startswith(VISION)


def flipped(values, layer, other):
    return [other[value] if i == layer else value for i, value in enumerate(values)]


def altered_configs(config, length):
    """One entry a switch: attributes to set on the text config, same tensors."""
    out = {"rms_norm_eps": {"rms_norm_eps": 2 * config.rms_norm_eps},
           "num_experts_per_tok": {"num_experts_per_tok": config.num_experts_per_tok + 1},
           "use_qk_norm": {"use_qk_norm": not config.use_qk_norm}} | altered_rope(dict(config.rope_parameters))
    for layer in range(config.num_hidden_layers):
        out[f"no_rope_layers.{layer}"] = {"no_rope_layers": flipped(config.no_rope_layers, layer, {0: 1, 1: 0})}
    if config.attention_chunk_size < length:
        out["attention_chunk_size"] = {"attention_chunk_size": config.attention_chunk_size + 1}
        kinds = {"chunked_attention": "full_attention", "full_attention": "chunked_attention"}
        for layer in range(config.num_hidden_layers):
            out[f"layer_types.{layer}"] = {"layer_types": flipped(config.layer_types, layer, kinds)}
    if config.floor_scale <= length:
        out["attn_temperature_tuning"] = {"attn_temperature_tuning": not config.attn_temperature_tuning}
        if config.attn_temperature_tuning:
            out["floor_scale"] = {"floor_scale": config.floor_scale + 1}
            out["attn_scale"] = {"attn_scale": 2 * config.attn_scale}
    return out
