"""A tiny configuration of every kind of model that transformers can go on with a text with."""

from typing import Any

VOCABULARY = 320
#: Under all the names that configurations use; a kind takes those that it knows.
GENERIC: dict[str, Any] = dict(
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    num_key_value_heads=2,
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "d_ff"), 128),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 512),
    head_dim=16,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "top_k_experts"), 2),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_groups"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 32),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
)
#: What a vocabulary has, whether a configuration lists it among its own or not.
TOKENS = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, pad_token_id=0)

_PARTS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
_TEXT = {key: GENERIC[key] for key in (*_PARTS, "max_position_embeddings", "head_dim")} | TOKENS
_HYBRID = _TEXT | {"layer_types": ["linear_attention", "full_attention"]}
_VISION = dict(
    hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
)
_LINEAR_ATTENTION = (
    "qwen3_next",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "bailing_hybrid",
    "granitemoehybrid",
    "kimi_linear",
)
#: What the generic sizes do not fit.
PARTICULAR: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 16, "attn_layer_indices": [1]},
    "bert-generation": {"is_decoder": True},
    "big_bird": {"is_decoder": True, "attention_type": "original_full"},
    "cohere_compass_text": {"layer_types": ["full_attention", "full_attention"]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots1": {"n_shared_experts": 1, "num_experts_per_tok": 2, "n_routed_experts": 4, "first_k_dense_replace": 1},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16},
    "gemma3": {
        "text_config": dict(_TEXT, sliding_window=16),
        "vision_config": dict(_VISION, vision_use_head=False),
        "mm_tokens_per_image": 4,
    },
    "gemma3n_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": VOCABULARY},
    "gemma4_text": {"vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 0},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama4": {
        "text_config": dict(_TEXT, intermediate_size_mlp=128, num_local_experts=4),
        "vision_config": dict(_VISION, vision_output_dim=32, projector_input_dim=32, projector_output_dim=32),
    },
    "llama4_text": {"intermediate_size_mlp": 128},
    "mamba2": {"num_heads": 8, "head_dim": 16, "expand": 2, "state_size": 16, "n_groups": 1},
    "ministral": {"head_dim": 16},
    "modernbert-decoder": {"pad_token_id": 0},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 1,
    },
    "reformer": {"is_decoder": True, "axial_pos_shape": [16, 32], "axial_pos_embds_dim": [32, 32], "num_buckets": 4},
    "zamba": {
        "num_hidden_layers": 6,
        "layers_block_type": ["mamba", "mamba", "hybrid"] * 2,
        "layer_types": ["mamba", "mamba", "hybrid"] * 2,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "layer_types": ["mamba", "hybrid"],
        "layers_block_type": ["mamba", "hybrid"],
        "mamba_headdim": 16,
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
        "use_mem_rope": False,
    },
    **{kind: {"rotary_dim": 8} for kind in ("gptj", "codegen")},
    **{kind: {"layer_types": ["linear_attention", "full_attention"]} for kind in _LINEAR_ATTENTION},
    "qwen3_5": {"text_config": _HYBRID},
    "qwen3_5_moe": {"text_config": _HYBRID | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}},
    "qwen4_exp_text": {"layer_types": ["linear_attention", "indexed_attention"]},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": 16},
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
#: Kinds that do not exist without a configuration in which they write from left to right.
_DECODERS = ("bert", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta")
_DECODERS += ("roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod")
PARTICULAR |= {kind: {"is_decoder": True} for kind in _DECODERS}


def values(kind: str) -> dict[str, Any]:
    """The values to make a tiny configuration of a kind with."""
    from transformers import AutoConfig

    return _known(AutoConfig.for_model(kind)) | TOKENS | PARTICULAR.get(kind, {})


def _known(defaults) -> dict[str, Any]:
    """Of the generic sizes those that a configuration has, its parts included."""
    made: dict[str, Any] = {}
    for key, value in (GENERIC | TOKENS).items():
        try:
            if getattr(defaults, key, None) is not None and not isinstance(
                getattr(type(defaults), key, None), property
            ):
                made[key] = value
        except Exception:  # one that may differ from layer to layer has no value of its own
            continue
    if "qk_rope_head_dim" in made:
        made.pop("head_dim", None)  # it follows from the parts
        made["num_key_value_heads"] = GENERIC["num_attention_heads"]  # each head has keys of its own
    if made.get("n_shared_experts", getattr(defaults, "n_shared_experts", 0)):
        made["n_shared_experts"] = 1
    for part in getattr(defaults, "sub_configs", {}):
        held = getattr(defaults, part, None)
        if held is not None and hasattr(held, "to_dict"):
            made[part] = _known(held) | ({} if "text" in part else {"image_size": 28, "patch_size": 14})
            made[part]["model_type"] = held.model_type
    return made


def config(kind: str):
    """A tiny configuration. Raises whatever transformers raises where these values do not fit."""
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **values(kind))
