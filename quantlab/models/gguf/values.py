"""What the header of a GGUF file says of its architecture, held against its tensors and against reason.

llama.cpp asserts where it should refuse: one bad value would end the whole process, the page of all visitors included.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from quantlab.models.gguf.header import GgufHeader

#: Counts that are needed, and the most that any model comes near to.
_COUNTS = {
    "block_count": 10_000,
    "embedding_length": 10**6,
    "context_length": 2**31 - 1,
    "feed_forward_length": 10**7,
    "attention.head_count": 10**5,
    "attention.head_count_kv": 10**5,
    "attention.key_length": 10**5,
    "attention.value_length": 10**5,
    "attention.sliding_window": 2**31 - 1,
    "rope.dimension_count": 10**5,
    "expert_count": 10**5,
    "expert_used_count": 10**5,
    "expert_feed_forward_length": 10**7,
    "vocab_size": 10**8,
}
#: Those that may be zero, which says that there is none.
_MAY_BE_ZERO = {"expert_count", "expert_used_count", "attention.sliding_window", "attention.head_count_kv"}
_MAY_BE_ZERO |= {"expert_feed_forward_length", "attention.head_count", "feed_forward_length"}
_POSITIVE = ("rope.freq_base",)
_EPSILONS = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
_BLOCK = re.compile(r"blk\.(\d+)\.")


def wrong(header: GgufHeader) -> str | None:
    """The first value that cannot be, by its key, in words; None where all can."""
    return next(_faults(header), None)


def _faults(header: GgufHeader) -> Iterator[str]:
    named = header.architecture
    for key, most in _COUNTS.items():
        for value in _each(header.about(key)):
            least = 0 if key in _MAY_BE_ZERO else 1
            if not _is_whole(value) or not least <= value <= most:
                yield f"{named}.{key} is {value!r}, which cannot be"
    for key in (*_POSITIVE, *_EPSILONS):
        for value in _each(header.about(key)):
            limit = 1.0 if key in _EPSILONS else math.inf
            if not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value <= limit:
                yield f"{named}.{key} is {value!r}, which cannot be"
    yield from _against_tensors(header)


def _each(value: Any) -> list[Any]:
    """Some keys hold one value a layer."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _against_tensors(header: GgufHeader) -> Iterator[str]:
    blocks = {int(found[1]) for name in header.tensors if (found := _BLOCK.match(name))}
    count, width = header.about("block_count"), header.about("embedding_length")
    if _is_whole(count) and blocks and not len(blocks) <= count <= 2 * len(blocks) + 8:
        yield f"{header.architecture}.block_count is {count:,}, and the file has tensors of {len(blocks):,} layers"
    embeddings = header.tensors.get("token_embd.weight")
    if embeddings is None or len(embeddings.shape) != 2:
        return
    if _is_whole(width) and width not in embeddings.shape:
        yield f"{header.architecture}.embedding_length is {width:,}, and its embeddings are {embeddings.shape}"
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list | tuple) and len(tokens) > max(embeddings.shape):
        yield f"it names {len(tokens):,} tokens and has embeddings for {max(embeddings.shape):,}"
