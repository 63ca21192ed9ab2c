"""What a model takes beside its weights: keys and values exactly, activations as an estimate; and the two together."""

from collections.abc import Callable
from dataclasses import dataclass

from quantlab.errors import unknown
from quantlab.methods.weights import DTYPE_BYTES
from quantlab.runtime.kv_cache import GGML, GROUP, HQQ_BITS
from quantlab.teach.plan.network import Network

#: How keys and values may be kept: elements that share a block, and its bytes, scales included. HQQ has groups
#: of 64 with a scale and a zero point of 16 bits each (the newest tokens, which it keeps wide, are not counted).
KV_TYPES = {
    **{name: (values, nbytes) for name, (_, nbytes, values) in GGML.items()},
    "bf16": (1, 2),
    **{name: (GROUP, GROUP * bits // 8 + 4) for name, bits in HQQ_BITS.items()},
}
#: The type in which the precision computes, as transformers and llama.cpp keep them by themselves.
AS_COMPUTED = "auto"
_OF_DTYPE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def kv_type(asked: str, dtype: str) -> str:
    """The type in which keys and values are kept at a precision that computes in `dtype`. Raises BadInput."""
    name = asked.strip().lower()
    if name == AS_COMPUTED:
        return _OF_DTYPE[dtype]
    if name not in KV_TYPES:
        raise unknown("type of the KV cache", asked, (AS_COMPUTED, *KV_TYPES))
    return name


def kv_cache_bytes(network: Network, context: int, batch: int, kv: str) -> int:
    """Bytes of the keys and values of `batch` sequences of `context` tokens each.

    2 x layers x key-value heads x head size x tokens (Pope et al. 2022, arXiv:2211.05102, 3.3), with fewer tokens in
    layers with a window, and one compressed vector in place of both where attention is latent.
    """
    block, nbytes = KV_TYPES[kv]
    total = 0
    for layers in network.cached:
        tokens = context if layers.most is None else min(context, layers.most)
        total += layers.count * -(-layers.elements * tokens * batch // block) * nbytes
    return total


def activation_bytes(network: Network, tokens: int, batch: int, dtype: str) -> int:
    """An estimate of the most that a pass over `tokens` of each sequence keeps beside weights, keys and values.

    While one layer works, for each token in the type of the products: the embeddings, the layer's input, what is added
    to it and its normed form (4 x hidden size), the rotary cosines and sines (2 x head size), and the larger of the
    MLP's gate, up and product (3 x its size) and attention's queries, keys, values and output. In float32 the logits of
    each sequence's last token. As transformers' Llama holds them, with attention that never has its whole matrix
    (FlashAttention, Dao et al. 2022, arXiv:2205.14135); without it that adds heads x tokens for each token.
    """
    attention = 2 * network.head_dim * (network.heads + network.key_value_heads)
    widest = 4 * network.hidden + 2 * network.head_dim + max(3 * network.intermediate, attention)
    return batch * tokens * widest * DTYPE_BYTES[dtype] + 4 * batch * network.vocabulary


@dataclass(frozen=True)
class Demand:
    """What a precision takes as a function of context and batch; `piece` is how many tokens of a prompt are read at
    once, None: all."""

    network: Network
    stored: int
    kv: str
    dtype: str
    piece: int | None = None

    def kv_cache(self, context: int, batch: int) -> int:
        return kv_cache_bytes(self.network, context, batch, self.kv)

    def activations(self, context: int, batch: int) -> int:
        return activation_bytes(self.network, min(context, self.piece or context), batch, self.dtype)

    def total(self, context: int, batch: int) -> int:
        return self.stored + self.kv_cache(context, batch) + self.activations(context, batch)


def most(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to `limit` that fits, where every smaller one fits too; 0 where not even 1 does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
