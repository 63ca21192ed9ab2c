"""What a model is made of, before it is loaded: which weights are quantized, which stay wide, in which type.

The common families are told by the names of their tensors, without torch. All others are asked of the network itself,
built without weights (`methods.skeleton`): files and modules differ (experts lie one by one in a file and as one stack
in memory), so that names alone would promise what the load does not keep.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from quantlab.methods.weights import DTYPE_BYTES, Layout, Weight
from quantlab.records import Checkpoint, TensorInfo

#: Families whose tensors are called like their modules, every matrix but embeddings and head being a linear layer.
_BY_NAME = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_NO_LINEAR = re.compile(r"(embed|lm_head|norm)")


def layout(checkpoint: Checkpoint, dtype: str) -> Layout:
    """The layout of a checkpoint's original weights where the un-quantized ones are kept in `dtype`.

    Raises ModelError where transformers cannot build the model.
    """
    if checkpoint.config.get("model_type") in _BY_NAME:
        return _by_name(checkpoint, DTYPE_BYTES[dtype])
    found = _built(json.dumps(checkpoint.config, sort_keys=True, default=str), dtype, _own_head(checkpoint.tensors))
    return found


def _own_head(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether the files hold an output head beside the embeddings. transformers keeps it then, whatever is tied."""
    return any(name.endswith("lm_head.weight") for name in tensors)


@lru_cache(maxsize=64)
def _built(config: str, dtype: str, own_head: bool) -> Layout:
    from quantlab.methods import skeleton

    return skeleton.layout(json.loads(config), dtype, own_head)


def _by_name(checkpoint: Checkpoint, element: int) -> Layout:
    weights = (
        Weight(
            name,
            info.shape,
            "linear" if len(info.shape) == 2 and _is_linear(name) else "wide",
            math.prod(info.shape) * element,
        )
        for name, info in checkpoint.tensors.items()
    )
    return Layout(tuple(weights), _rotary_bytes(checkpoint.config))


def _rotary_bytes(config: Mapping[str, Any]) -> int:
    """The frequencies of rotary embeddings, which transformers keeps twice in float32, one for two values of a head."""
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head = config.get("head_dim") or (hidden // heads if heads and hidden else 0)
    return 2 * 4 * (int(head * (config.get("partial_rotary_factor") or 1)) // 2)


@lru_cache(maxsize=1 << 14)  # each precision of a list asks of every tensor
def _is_linear(name: str) -> bool:
    return name.endswith(".weight") and not _NO_LINEAR.search(name)
