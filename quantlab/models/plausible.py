"""The sizes in config.json held against the tensors of the files, before anything is built by them.

transformers believes a configuration: a thousand million layers are a list that fills all memory, and a layer each. The
headers of the files tell how many there are. What is only a little wrong is left to the load, which names the tensors.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quantlab.models.architecture import text_config
from quantlab.models.layouts import EMBEDDINGS, FLOATS
from quantlab.records import TensorInfo

#: So many layers and experts are built in a moment, whatever the files hold; no model is deeper.
LAYERS, EXPERTS = 256, 1_024
#: So much larger than any dimension in the files, and larger than this, no size of a layer is: codes are packed.
TIMES, LARGEST = 16, 1 << 20
#: Characters of a value that are shown.
_SHOWN = 60
#: Positions take memory too where a kind keeps a table of them.
POSITIONS = 2**31 - 1
_LAYER_KEYS = re.compile(r"(^|_)(num_\w*layers|layers|n_layers?|num_hidden_groups|depth|num_blocks|n_blocks)$")
_EXPERT_KEYS = re.compile(r"experts(_per_tok)?$")
_POSITION_KEYS = re.compile(r"(position_embeddings|n_positions|n_ctx|max_seq_len|seq_length|sequence_length)$")
_SIZE_KEYS = re.compile(r"(_size|_dim|_rank|_width|_heads|_groups|_kernel)$|^(d|n|num)_\w+$|^(hidden|ffn)_\w*dim")
#: Sizes that are no number of anything in a network.
_NO_SIZES = re.compile(r"(token|special|steps|samples|epochs|bytes|params|flops|seed|labels|chunk|window)")
#: Sizes without which there is no model.
_NEEDED = frozenset({"hidden_size", "vocab_size", "num_hidden_layers", "n_embd", "n_layer", "d_model", "n_layers"})
_NOT_NEGATIVE = _NEEDED | {"num_attention_heads", "num_key_value_heads", "intermediate_size", "head_dim", "n_head"}
_NOT_NEGATIVE |= {"n_inner", "ffn_dim", "num_heads", "num_experts", "num_local_experts"}
_NUMBERS = frozenset({"rms_norm_eps", "rope_theta", "partial_rotary_factor", "sliding_window", "factor"})
#: Parts whose settings are looked at too. Those of a rotary embedding may be given for each type of layer.
_PARTS = frozenset({"text_config", "decoder", "generator", "rope_parameters", "rope_scaling"})
_PARTS |= {"full_attention", "sliding_attention"}
_NAMES = frozenset({"architectures", "layer_types"})
#: What other settings are, if they are there, by their names: they are read here and by transformers.
_TYPES: tuple[tuple[str, tuple[type, ...], frozenset[str]], ...] = (
    ("name", (str,), frozenset({"model_type", "hidden_act", "rope_type"})),
    ("name", (str, dict), frozenset({"dtype", "torch_dtype"})),  # one for each part, in some
    ("object", (dict,), frozenset({"quantization_config", "compression_config", "rope_parameters", "rope_scaling"})),
    ("list", (list,), _NAMES),
    ("number", (int, float), _NUMBERS),
)
_INDEX = re.compile(r"\.(\d+)\.")
_EXPERT = re.compile(r"experts\.(\d+)\.")


def wrong(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> str | None:
    """The first value that cannot be, with its key and what the files hold, in words; None where all can."""
    return next(_faults(config, tensors), None)


def _faults(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    layers = _count(_INDEX, tensors) or len(tensors)
    experts = max([_count(_EXPERT, tensors), *(info.shape[0] for info in tensors.values() if len(info.shape) == 3)])
    largest = max((size for info in tensors.values() for size in info.shape), default=1)
    for path, key, value in _numbers(config, ""):
        if value < 0 and key in _NOT_NEGATIVE and (value < -1 or key in _NEEDED):  # -1 says "none" in some
            yield f"{path} is {_said(value)}, and a size is positive"
        elif value == 0 and key in _NEEDED:
            yield f"{path} is 0"
        elif _LAYER_KEYS.search(key) and value > max(2 * layers + 8, LAYERS):
            yield f"{path} is {_said(value)}, and its files hold tensors of {layers:,} layers"
        elif _EXPERT_KEYS.search(key) and value > max(2 * experts + 8, EXPERTS):
            yield f"{path} is {_said(value)}, and its files hold {experts:,} experts a layer"
        elif _POSITION_KEYS.search(key) and value > POSITIONS:
            yield f"{path} is {_said(value)}, more than any model reads"
        elif _is_size(key) and value > max(TIMES * largest, LARGEST):
            yield f"{path} is {_said(value)}, and the largest tensor of its files has rows or columns of {largest:,}"
    yield from _embeddings(config, tensors)


def wrong_type(config: Mapping[str, Any]) -> str | None:
    """The first setting that is of another type than such a setting has, in words; None where there is none."""
    return next(_other_types(config, ""), None)


def _other_types(config: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in config.items():
        here = f"{path}.{key}" if path else str(key)
        for what, types, keys in _TYPES:
            if key in keys and value is not None and (not isinstance(value, types) or isinstance(value, bool)):
                yield f"{here} is {_short(value)}, which is no {what}"
        odd = [it for it in value if not isinstance(it, str)] if key in _NAMES and isinstance(value, list) else []
        if odd:
            yield f"{here} holds {_short(odd[0])}, which is no name"
        if key in _NOT_NEGATIVE and isinstance(value, str | bool):
            yield f"{here} is {_short(value)}, which is no number"
        if key in _PARTS and isinstance(value, Mapping):
            yield from _other_types(value, here)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _embeddings(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """A vocabulary or width larger than the embeddings, whose shape is no other setting's either."""
    shapes = [
        info.shape
        for name, info in tensors.items()
        if name.endswith(EMBEDDINGS) and len(info.shape) == 2 and info.dtype in FLOATS and "position" not in name
    ]
    if len(shapes) != 1:
        return
    rows, columns = shapes[0]
    known = {value for _, _, value in _numbers(config, "")}
    for key, held, what in (("vocab_size", rows, "tokens"), ("hidden_size", columns, "columns")):
        value = text_config(config).get(key, config.get(key))
        if _is_number(value) and value > held and held not in known:
            yield f"{key} is {_said(value)}, and the embeddings of its files have {held:,} {what}"


def _numbers(config: Any, path: str) -> Iterator[tuple[str, str, float]]:
    """Every number under a name, with its whole path: of a configuration of several parts too."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            here = f"{path}.{key}" if path else str(key)
            if _is_number(value):
                yield here, str(key), value
            elif isinstance(value, Mapping):
                yield from _numbers(value, here)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(key: str) -> bool:
    return bool(_SIZE_KEYS.search(key)) and not _NO_SIZES.search(key) and not _POSITION_KEYS.search(key)


def _count(pattern: re.Pattern[str], tensors: Mapping[str, TensorInfo]) -> int:
    """One more than the largest index in the names: an upper bound, as something else may be numbered too."""
    return max((int(found) + 1 for name in tensors for found in pattern.findall(name)), default=0)


def _said(value: float) -> str:
    return f"{value:,}" if abs(value) < 1e16 else f"{value:.3g}"
