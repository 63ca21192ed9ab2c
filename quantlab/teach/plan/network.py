"""What a plan has to know of a model's configuration beside its tensors: what each layer keeps of each token."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.errors import ModelError
from quantlab.models import architecture
from quantlab.records import Checkpoint

#: Kinds whose config.json says all that is asked here; of all others transformers' own configuration is.
_PLAIN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_WINDOWED = ("sliding_attention", "hybrid_sliding", "reference_sliding_attention")
#: Layers without keys and values: they keep a state of a fixed size, or nothing.
_STATE, _NOTHING = ("conv", "linear_attention", "mamba", "recurrent"), ("dummy", "moe", "mlp")


@dataclass(frozen=True)
class CachedLayers:
    """`count` layers that are alike: `elements` of keys and values together for one token, and the most tokens that
    they keep (None: all)."""

    count: int
    elements: int
    most: int | None = None


@dataclass(frozen=True)
class Network:
    """Sizes of a decoder. `stateful` layers keep a state that does not grow with the text."""

    layers: int
    hidden: int
    heads: int
    head_dim: int
    key_value_heads: int
    intermediate: int
    vocabulary: int
    cached: tuple[CachedLayers, ...]
    stateful: int
    context: int | None
    unsure: bool = False


def network(checkpoint: Checkpoint, name: str) -> Network:
    """Raises ModelError where the configuration is not that of a language model that writes from left to right."""
    values = architecture.text_config(checkpoint.config)
    reason = architecture.not_causal(checkpoint.config) or architecture.not_causal(values)
    if reason is not None:
        raise ModelError(f"{name} {reason}.", "Choose a causal language model.")
    if values.get("model_type") in _PLAIN:
        return _of(values, _plain_kinds(values), name, architecture.context_length(checkpoint.config))
    try:
        config, kinds = _of_transformers(checkpoint.config, name)
    except ModelError:
        if checkpoint.file is None and checkpoint.stored_as != "gguf":
            raise
        # The header of a file that transformers does not know: every layer keeps every token, as far as it tells.
        found = _of(values, [("full_attention", None)] * _number(values, name, "num_hidden_layers"), name, None)
        return Network(**{**vars(found), "context": architecture.context_length(values), "unsure": True})
    return _of(config, kinds, name, architecture.context_length(config))


def _plain_kinds(values: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """Kind and window of each layer, as transformers reads them from these kinds' config.json."""
    count = int(values.get("num_hidden_layers") or 0)
    window = values.get("sliding_window")
    kinds = values.get("layer_types")
    if values.get("model_type") == "llama" or (
        values["model_type"] != "mistral" and not values.get("use_sliding_window")
    ):
        window = None
    if kinds is None:
        first = int(values.get("max_window_layers") or 0) if values["model_type"] != "mistral" else 0
        kinds = ["sliding_attention" if window and layer >= first else "full_attention" for layer in range(count)]
    return [(kind, window if kind == "sliding_attention" else None) for kind in kinds]


def _of_transformers(values: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], list[tuple[str, int | None]]]:
    """The configuration with its kind's defaults under the usual names, and kind and window of each layer."""
    from quantlab.models.configuration import configuration

    found = configuration(values, name)
    from transformers.cache_utils import get_layer_types_and_kwargs

    config = found.get_text_config(decoder=True)
    names = {**config.to_dict(), **{usual: getattr(config, own, None) for usual, own in config.attribute_map.items()}}
    kinds, options = get_layer_types_and_kwargs(config)
    return names, [(kind, option.get("sliding_window")) for kind, option in zip(kinds, options, strict=True)]


def _of(values: Mapping[str, Any], kinds: list[tuple[str, int | None]], name: str, context: int | None) -> Network:
    hidden, heads = _number(values, name, "hidden_size"), _number(values, name, "num_attention_heads")
    head_dim = int(values.get("head_dim") or hidden // heads)
    keys = _key_value_heads(values, heads)
    elements = _latent(values) or 2 * keys * head_dim
    found: Counter[tuple[int, int | None]] = Counter()
    for kind, window in kinds:
        if kind not in (*_STATE, *_NOTHING):
            # transformers keeps a window's tokens but the one that comes next.
            found[elements, max(0, window - 1) if window else None] += 1
    layers = tuple(CachedLayers(count, size, most) for (size, most), count in found.items())
    stateful = sum(kind in _STATE or kind.startswith("hybrid") for kind, _ in kinds)
    inner = next(
        (values[it] for it in ("intermediate_size", "n_inner", "ffn_dim", "d_ff") if values.get(it)), 4 * hidden
    )
    vocabulary = architecture.vocabulary_size(values) or 0
    inner = max(inner) if isinstance(inner, list | tuple) else int(inner)
    return Network(len(kinds), hidden, heads, head_dim, keys, inner, vocabulary, layers, stateful, context)


def _key_value_heads(values: Mapping[str, Any], heads: int) -> int:
    """How many heads have keys and values of their own (grouped queries; 1: all share them)."""
    if values.get("multi_query") and not values.get("new_decoder_architecture"):
        return 1
    found = next((values[it] for it in ("num_key_value_heads", "num_kv_heads", "kv_n_heads") if values.get(it)), heads)
    return max(found) if isinstance(found, list | tuple) else int(found)


def _latent(values: Mapping[str, Any]) -> int:
    """What multi-head latent attention keeps of a token: one compressed vector for all heads, and the rotated part.

    DeepSeek-AI 2024, arXiv:2405.04434, 2.1.2. 0 where the model has none.
    """
    rank, rotated = values.get("kv_lora_rank"), values.get("qk_rope_head_dim")
    return int(rank) + int(rotated) if rank and rotated else 0


def _number(values: Mapping[str, Any], name: str, key: str) -> int:
    found = values.get(key)
    if isinstance(found, list | tuple) and found:
        found = max(found)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ModelError(
            f"The configuration of {name} does not say {key}, so that it cannot be planned.",
            "Choose a causal language model, or type its numbers.",
        )
    return found
