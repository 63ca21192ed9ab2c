"""The architectures that the exporter knows: whether it can take a model, its tensors' names, its settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.errors import ModelError
from quantlab.methods.gguf.tensor_types import Sizes
from quantlab.records import TensorInfo

#: transformers' class and llama.cpp's name of the same network. llama.cpp runs Mistral as Llama.
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_OF_MODEL_TYPE = {name.removesuffix("ForCausalLM").lower(): name for name in ARCHITECTURES}
ROPE_TYPES = ("default", "linear", "llama3", "yarn")
#: Settings of YaRN that llama.cpp does not read for these networks, and the only values it uses.
_YARN_FIXED = {
    "mscale": None,
    "mscale_all_dim": None,
    "attention_factor": None,
    "beta_fast": 32,
    "beta_slow": 1,
    "truncate": True,
}
STORED = ("F32", "F16", "BF16")

_OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INNER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
ROPE_FACTORS = "rope_freqs.weight"


#: Numbers that the format has no default for.
_NEEDED = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
    *("max_position_embeddings", "rms_norm_eps"),
)


@dataclass(frozen=True)
class Planned:
    """A tensor of the export: where it comes from (None: computed from the settings), its shape and stored type."""

    source: str | None
    info: TensorInfo


def architecture(config: Mapping[str, Any]) -> str:
    """transformers' name of the network, also where config.json gives only a `model_type`."""
    kind: Any = config.get("model_type")
    named = config.get("architectures") or [_OF_MODEL_TYPE.get(kind, kind)]
    return str(named[0])


def lacking(config: Mapping[str, Any]) -> str | None:
    """Which number that the format needs is not in config.json, in words that go on from "it ..."."""
    for key in _NEEDED:
        value = config.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            said = f"says {value!r}" if key in config else "does not say it"
            return f"needs {key} in config.json, which {said}: choose another method"
    return None


def refusal(config: Mapping[str, Any]) -> str | None:
    """Why a model cannot be exported, in words that go on from "it ..."; None where it can."""
    name = architecture(config)
    if name not in ARCHITECTURES:
        return f"exports {', '.join(ARCHITECTURES)} and not {name}: choose another method, or a published .gguf file"
    if (reason := lacking(config)) is not None:
        return reason
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        return f"exports networks with SiLU, and this one has {activation}: choose another method"
    rope = rope_settings(config)
    if rope["rope_type"] not in ROPE_TYPES:
        return (
            f"exports rotary embeddings of the kinds {', '.join(ROPE_TYPES)}, and these are {rope['rope_type']}: "
            "choose another method"
        )
    if rope["rope_type"] == "yarn":
        extra = [key for key, only in _YARN_FIXED.items() if rope.get(key) is not None and rope[key] != only]
        if extra:
            return f"takes no {', '.join(extra)} for these rotary embeddings (yarn): choose another method"
    if config.get("partial_rotary_factor") not in (None, 1, 1.0):
        return "exports networks that rotate whole heads, and this one rotates parts: choose another method"
    heads, head = config.get("num_attention_heads", 1), config.get("head_dim")
    if name == "Qwen2ForCausalLM" and head and head * heads != config.get("hidden_size"):
        return "exports Qwen2 with heads that add up to the hidden size: choose another method"
    if name == "Qwen3ForCausalLM" and config.get("attention_bias"):
        return "exports Qwen3 without biases in its attention, and this one has them: choose another method"
    return None


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_type`, `rope_theta` and whatever belongs to the type, from config.json of any age."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found["rope_type"] = str(found.get("rope_type") or found.get("type") or "default")
    found["rope_theta"] = float(found.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    return found


def head_dim(config: Mapping[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def key_value_heads(config: Mapping[str, Any]) -> int:
    return config.get("num_key_value_heads") or config["num_attention_heads"]


def window(config: Mapping[str, Any]) -> int | None:
    """Tokens that a layer sees at most, where some layer does not see all of them.

    llama.cpp lets these architectures always see everything, so an export is exact up to this length only.
    """
    name, size = architecture(config), config.get("sliding_window")
    if not size or name == "LlamaForCausalLM":
        return None
    if name != "MistralForCausalLM" and not config.get("use_sliding_window"):
        return None
    kinds = config.get("layer_types")
    return None if kinds and "sliding_attention" not in kinds else size


def context_length(config: Mapping[str, Any]) -> int:
    whole = config["max_position_embeddings"]
    return min(whole, window(config) or whole)


def sizes(config: Mapping[str, Any], planned: Mapping[str, object]) -> Sizes:
    """What the choice of tensor types asks of a model with these GGUF tensors."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    return Sizes(layers, heads, key_value_heads(config), "output.weight" not in planned)


def plan(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, Planned]:
    """The tensors of a lossless export, by GGUF name, in the order of the source.

    Vectors become float32, as llama.cpp wants them; matrices keep their type. Raises ModelError for a tensor whose
    place or type is not known.
    """
    planned: dict[str, Planned] = {}
    for name, info in tensors.items():
        target = _target(name, config)
        if target is None:
            continue
        if info.dtype not in STORED:
            raise ModelError(f"{name} is stored as {info.dtype}.", f"GGUF is made of {', '.join(STORED)}.")
        stored = info.dtype if len(info.shape) > 1 else "F32"
        planned[target] = Planned(name, TensorInfo(info.shape, stored))
    if rope_settings(config)["rope_type"] == "llama3":
        planned[ROPE_FACTORS] = Planned(None, TensorInfo((head_dim(config) // 2,), "F32"))
    return planned


def _target(name: str, config: Mapping[str, Any]) -> str | None:
    """The GGUF name of a tensor; None for one that is not exported."""
    if name.endswith("rotary_emb.inv_freq"):  # old checkpoints keep what the settings tell
        return None
    module, _, kind = name.rpartition(".")
    if module == "lm_head" and config.get("tie_word_embeddings"):
        return None
    if module in _OUTER:
        return f"{_OUTER[module]}.{kind}"
    layer = _LAYER.fullmatch(module)
    if layer is None or layer[2] not in _INNER:
        raise ModelError(
            f"The exporter does not know the weight {name}.",
            f"It belongs to no {architecture(config)} as transformers writes them.",
        )
    return f"blk.{layer[1]}.{_INNER[layer[2]]}.{kind}"


def module_of(target: str) -> str:
    """The module of transformers whose weight has the GGUF name `target`."""
    stem = target.removesuffix(".weight")
    outer = {short: module for module, short in _OUTER.items()}
    if stem in outer:
        return outer[stem]
    _, layer, part = stem.split(".")
    inner = {short: module for module, short in _INNER.items()}
    return f"model.layers.{layer}.{inner[part]}"
