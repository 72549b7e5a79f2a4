"""The configurations of this folder, in the published spelling. Together they differ in every switch of a family."""


def config(**changed):
    base = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "decoder_sparse_step": 1,
        "eos_token_id": 2,
        "head_dim": 6,
        "hidden_act": "silu",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 44,
        "max_position_embeddings": 40960,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 20,
        "norm_topk_prob": True,
        "num_attention_heads": 8,
        "num_experts": 12,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "output_router_logits": False,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 101,
    }
    unset = [k for k, v in changed.items() if v is ...]
    return {k: v for k, v in (base | changed).items() if k not in unset}


def case(seed, ids, spelling="published", files=1, family="qwen3_moe", **more):
    return {"family": family, "seed": seed, "ids": ids, "spelling": spelling, "files": files} | more


def llama4_text(**changed):
    base = {
        "architectures": ["Llama4ForCausalLM"],
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": True,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "floor_scale": 8192,
        "for_llm_compressor": False,
        "head_dim": 8,
        "hidden_act": "silu",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "interleave_moe_layer_step": 1,
        "intermediate_size": 14,
        "intermediate_size_mlp": 40,
        "max_position_embeddings": 262144,
        "model_type": "llama4_text",
        "no_rope_layers": [],
        "num_attention_heads": 4,
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 6,
        "output_router_logits": False,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_qk_norm": True,
        "vocab_size": 101,
    }
    unset = [k for k, v in changed.items() if v is ...]
    return {k: v for k, v in (base | changed).items() if k not in unset}


def llama4_nested(**changed):
    text = {k: v for k, v in llama4_text(**changed).items() if k not in ("architectures", "transformers_version")}
    return {
        "architectures": ["Llama4ForConditionalGeneration"],
        "boi_token_index": 90,
        "eoi_token_index": 91,
        "image_token_index": 92,
        "model_type": "llama4",
        "text_config": text,
        "torch_dtype": text["torch_dtype"],
        "transformers_version": "4.51.0.dev0",
        "vision_config": {
            "hidden_size": 8, "image_size": 4, "intermediate_size": 12, "model_type": "llama4_vision_model",
            "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 1, "patch_size": 2,
            "pixel_shuffle_ratio": 0.5, "projector_input_dim": 6, "projector_output_dim": 6, "rope_theta": 10000,
            "vision_output_dim": 6,
        },
    }


CASES = {
    # theta 1e4, no scaling, ten experts
    "plain": case(100, (3, 10), config=config(num_experts=10, rope_theta=10000.0)),
    # a tied head, a dense layer by mlp_only_layers, weights not renormalised, K = 3, f32 in two files
    "tied-dense": case(200, (2, 11), files=2, config=config(
        tie_word_embeddings=True, mlp_only_layers=[0], norm_topk_prob=False, num_experts_per_tok=3, num_experts=11,
        num_hidden_layers=3, hidden_size=24, head_dim=8, moe_intermediate_size=14, intermediate_size=36, vocab_size=97,
        rms_norm_eps=1e-5, torch_dtype="float32")),
    # every second layer sparse, K = 1, linear scaling in the older words, f16, head_dim left to hidden / heads
    "sparse-step": case(300, (2, 13), config=config(
        decoder_sparse_step=2, num_hidden_layers=4, num_experts=6, num_experts_per_tok=1, norm_topk_prob=False,
        rope_scaling={"type": "linear", "factor": 2.5}, head_dim=..., moe_intermediate_size=18, vocab_size=103,
        torch_dtype="float16")),
    # the sequence is longer than max_position_embeddings; K = 4 of 18; transformers 5 wrote the config
    "dynamic": case(400, (2, 14), spelling="transformers5", files=3, config=config(
        rope_scaling={"rope_type": "dynamic", "factor": 3.0}, max_position_embeddings=8, num_experts=18,
        num_experts_per_tok=4, head_dim=10, hidden_size=28, moe_intermediate_size=12, vocab_size=89)),
    # Qwen's published long-context words, with the older key "type"
    "yarn-published": case(500, (3, 12), config=config(
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        max_position_embeddings=131072, head_dim=16, moe_intermediate_size=12, rope_theta=5000000.0)),
    # all of yarn's optional words but attention_factor; transformers 5 wrote the config
    "yarn-full": case(600, (2, 12), spelling="transformers5", config=config(
        rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512, "beta_fast": 16.0,
                      "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False},
        max_position_embeddings=4096, head_dim=12, hidden_size=40, moe_intermediate_size=10, num_experts=13,
        num_experts_per_tok=3, norm_topk_prob=False, rope_theta=10000.0, vocab_size=107, torch_dtype="float32")),
    # yarn with attention_factor; both ways of choosing dense layers at once; theta 5e6
    "yarn-attention": case(700, (2, 12), config=config(
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512,
                      "attention_factor": 1.25},
        max_position_embeddings=2048, decoder_sparse_step=2, mlp_only_layers=[1, 2], num_hidden_layers=4, head_dim=14,
        hidden_size=36, moe_intermediate_size=16, num_experts=14, tie_word_embeddings=True, rope_theta=5000000.0,
        rms_norm_eps=1e-3, vocab_size=95)),
    # llama3 scaling; a tied head that the file holds all the same; transformers 5 wrote the config; f16 in two files
    "llama3-tied": case(800, (2, 12), spelling="transformers5", files=2, tied_head_in_file=True, config=config(
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64,
                      "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        max_position_embeddings=1024, tie_word_embeddings=True, head_dim=12, moe_intermediate_size=14,
        rope_theta=500000.0, rms_norm_eps=1e-5, vocab_size=99, torch_dtype="float16")),
    # the checkpoint of `shardproof demo`
    "demo": case(900, (2, 16), files=2, config=config(
        num_experts=16, num_hidden_layers=3, mlp_only_layers=[0], hidden_size=64, head_dim=12, moe_intermediate_size=40,
        intermediate_size=104, vocab_size=259, max_position_embeddings=2048)),
    # as Llama 4 Scout is published: nested beside a vision model, every layer sparse, K = 1, the switch of the temperature
    # as a number, which no position reaches
    "llama4-nested": case(1000, (2, 11), files=2, family="llama4", config=llama4_nested(
        attn_temperature_tuning=4,
        rope_scaling={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 8192, "rope_type": "llama3"})),
    # chunks shorter than the sequence, dense and sparse layers in turn as Maverick has them, K = 2, f32
    "llama4-chunks": case(1100, (2, 14), family="llama4", config=llama4_text(
        attention_chunk_size=5, interleave_moe_layer_step=2, num_experts_per_tok=2, num_local_experts=5,
        no_rope_layers=[1, 0, 1, 1], hidden_size=24, head_dim=6, intermediate_size=10, intermediate_size_mlp=28,
        rope_theta=10000.0, vocab_size=97, torch_dtype="float32")),
    # positions that the temperature reaches; transformers 5 wrote the config
    "llama4-temperature": case(1200, (2, 13), spelling="transformers5", family="llama4", config=llama4_text(
        floor_scale=3, attn_scale=0.4, no_rope_layers=[0, 1, 0], num_hidden_layers=3, num_local_experts=7,
        num_attention_heads=6, num_key_value_heads=3, intermediate_size=12, rms_norm_eps=1e-3, vocab_size=89)),
    # a tied head, dense layers by moe_layers, no q/k norm, no temperature, K = 3, f16
    "llama4-tied": case(1300, (3, 10), family="llama4", config=llama4_text(
        tie_word_embeddings=True, moe_layers=[1], num_hidden_layers=3, use_qk_norm=False,
        attn_temperature_tuning=False, no_rope_layer_interval=2, num_experts_per_tok=3, num_local_experts=8, head_dim=10,
        intermediate_size=16, rope_theta=10000.0, vocab_size=103, torch_dtype="float16")),
    # all at once, nested, chunks in layers that layer_types names; transformers 5 wrote the config
    "llama4-nested-all": case(1400, (2, 12), spelling="transformers5", files=2, family="llama4", config=llama4_nested(
        attention_chunk_size=4, floor_scale=2, attn_scale=0.7, interleave_moe_layer_step=2, num_experts_per_tok=2,
        no_rope_layers=[1, 0, 0, 1], layer_types=["full_attention", "chunked_attention", "full_attention",
                                                  "chunked_attention"],
        rope_scaling={"factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 50, "rope_type": "llama3"},
        rope_theta=100.0, head_dim=12, hidden_size=20, intermediate_size=18, intermediate_size_mlp=22,
        vocab_size=93)),
}
