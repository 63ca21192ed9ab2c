"""Which part of a model (see `records.PARTS`) a tensor belongs to, by the names that model classes use. No torch."""

import re
from functools import lru_cache

_PART_OF_NAME = (
    ("embeddings", re.compile(r"(^|\.)(embed\w*|wte|wpe|word_embeddings)($|\.)")),
    ("output_head", re.compile(r"(^|\.)(lm_head|embed_out|output_layer)($|\.)")),
    ("norms", re.compile(r"(norm\w*|ln_\w+)($|\.)")),
    ("attention", re.compile(r"(^|\.)(self_attn|attn|attention)($|\.)")),
    ("mlp", re.compile(r"(^|\.)(mlp|feed_forward|block_sparse_moe)($|\.)")),
)
#: Names under which quantized layers keep something other than the weight's own codes.
_OVERHEAD = re.compile(
    r"(?<!embed_)scale|zero|absmax|scb|code|offset|quant_map|g_idx|ret_idx|wf_unsqueeze|weight_shape|state",
    re.IGNORECASE,
)


@lru_cache(maxsize=8_192)
def part_of(module_name: str) -> str:
    """The part that a module belongs to."""
    return next((part for part, pattern in _PART_OF_NAME if pattern.search(module_name)), "other")


def is_overhead(path: str) -> bool:
    """Whether what hangs at this attribute of a quantized layer is scales, codebooks and the like, and not codes."""
    return bool(_OVERHEAD.search(path))
