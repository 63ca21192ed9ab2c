"""What a plan has to know of a model's configuration beside its tensors: what each layer keeps of each token."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from quantlab.errors import ModelError
from quantlab.models import architecture
from quantlab.records import Checkpoint

#: Kinds whose config.json says all that is asked here; of all others transformers' own configuration is.
_PLAIN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
#: Layers that keep more of a token than keys and values (an index, compressed forms), which is not planned.
_MORE = ("indexed_attention", "heavily_compressed_attention", "compressed_sparse_attention")
#: Layers without keys and values: they keep a state of a fixed size, or nothing.
_STATE, _NOTHING = ("conv", "linear_attention", "mamba", "recurrent"), ("dummy", "moe", "mlp")
_NOT_KNOWN = (
    "transformers does not know this kind of model: keys and values are planned as if every layer kept every token."
)
_KEEPS_MORE = "Its layers keep an index or a compressed form beside keys and values, which is not counted."


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
    #: What is not known of its keys and values, in words; empty where they are exact.
    unsure: str = ""


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
        kinds = [Layer("full_attention", None, values)] * _number(values, name, "num_hidden_layers")
        return replace(_of(values, kinds, name, architecture.context_length(values)), unsure=_NOT_KNOWN)
    return _of(config, kinds, name, architecture.context_length(config))


class Layer(NamedTuple):
    """What it attends to, in how wide a window, and the settings of this very layer."""

    kind: str
    window: int | None
    values: Mapping[str, Any]


def _plain_kinds(values: Mapping[str, Any]) -> list[Layer]:
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
    return [Layer(kind, window if kind == "sliding_attention" else None, values) for kind in kinds]


def _of_transformers(values: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], list[Layer]]:
    """The configuration with its kind's defaults under the usual names, and its layers."""
    from quantlab.models.configuration import configuration

    found = configuration(values, name)
    from transformers.cache_utils import get_layer_types_and_kwargs

    config = found.get_text_config(decoder=True)
    kinds, options = get_layer_types_and_kwargs(config)
    layers = [_named(each) for each in config.per_layer_config]
    windows = [option.get("sliding_window") for option in options]
    return _named(config), [Layer(*it) for it in zip(kinds, windows, layers, strict=True)]


def _named(config: Any) -> Mapping[str, Any]:
    """A configuration's values, also those that its kind has under names of its own."""
    return {**config.to_dict(), **{usual: getattr(config, own, None) for usual, own in config.attribute_map.items()}}


def _of(values: Mapping[str, Any], kinds: list[Layer], name: str, context: int | None) -> Network:
    hidden, heads = _number(values, name, "hidden_size"), _number(values, name, "num_attention_heads")
    head_dim, keys = int(values.get("head_dim") or hidden // heads), _key_value_heads(values, heads)
    found: Counter[tuple[int, int | None]] = Counter()
    for layer in kinds:
        if layer.kind not in (*_STATE, *_NOTHING):
            # transformers keeps a window's tokens but the one that comes next.
            most = max(0, layer.window - 1) if layer.window else None
            found[_elements(layer.values, hidden, heads), most] += 1
    cached = tuple(CachedLayers(count, size, most) for (size, most), count in found.items())
    stateful = sum(layer.kind in _STATE or layer.kind.startswith("hybrid") for layer in kinds)
    given = (values[it] for it in ("intermediate_size", "n_inner", "ffn_dim", "d_ff") if values.get(it))
    inner = next(given, 4 * hidden)
    inner = max(inner) if isinstance(inner, list | tuple) else int(inner)
    vocabulary = architecture.vocabulary_size(values) or 0
    unsure = _KEEPS_MORE if any(layer.kind in _MORE for layer in kinds) else ""
    return Network(len(kinds), hidden, heads, head_dim, keys, inner, vocabulary, cached, stateful, context, unsure)


def _elements(values: Mapping[str, Any], hidden: int, heads: int) -> int:
    """What one layer keeps of one token: keys and values of each of its heads, or one compressed vector for all."""
    head_dim = int(values.get("head_dim") or hidden // heads)
    return _latent(values) or _key_value_heads(values, heads) * (head_dim + int(values.get("v_head_dim") or head_dim))


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
