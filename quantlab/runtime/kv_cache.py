"""Keys and values at fewer bits than the model computes in: what `+kv-TYPE` behind a precision's name asks for.

The weights are the precision's own, so a variant and the same one with another cache are loaded once.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

from quantlab.errors import Unavailable
from quantlab.runtime.session import Facts, LoadedModel, Session, Storage

if TYPE_CHECKING:
    import torch
    from transformers import Cache

MARK = "+kv-"
#: Types of transformers' `QuantizedCache` over HQQ, with the bits of a code.
HQQ_BITS: Mapping[str, int] = {"int8": 8, "int4": 4, "int2": 2}
#: Codes that share a scale and a zero point, at most: a group lies within the vector of one head.
GROUP = 64
#: The newest tokens, whose keys and values stay as they were computed until so many are together.
RESIDUAL = 32
#: Where `Facts.details` tells how many there really are.
GROUP_DETAIL = "KV group size"
#: Where they tell that room is reserved at once, which is not what the tokens so far take.
RESERVED_DETAIL = "KV room"
#: Types of llama.cpp's cache, with its number of each and the bytes of a block of so many values (ggml-common.h).
GGML: Mapping[str, tuple[int, int, int]] = {
    "f32": (0, 4, 1),
    "f16": (1, 2, 1),
    "q8_0": (8, 34, 32),
    "q5_1": (7, 24, 32),
    "q5_0": (6, 22, 32),
    "q4_1": (3, 20, 32),
    "q4_0": (2, 18, 32),
}


def split(name: str) -> tuple[str, str | None]:
    """A precision's or checkpoint's name without the type of its cache, and that type; None where none is asked for."""
    base, mark, kv_cache = name.rpartition(MARK)
    return (base, kv_cache) if mark else (name, None)


def check(kv_cache: str, by: str, can: Mapping[str, object]) -> None:
    """Raises Unavailable where `by`, who runs the model, has no such type among those that it `can` do."""
    if kv_cache not in can:
        others = ", ".join(f"{MARK}{it}" for it in can)
        raise Unavailable(f"{by} cannot keep keys and values in {kv_cache}.", f"Choose from: {others}.")


def quantized_cache(network: "torch.nn.Module", kv_cache: str) -> "Cache":
    """An empty cache of transformers with keys and values in the type `kv_cache` of `HQQ_BITS`.

    Raises Unavailable where the package is missing, or a layer keeps something else than all keys and values.
    """
    from transformers import QuantizedCache

    check(kv_cache, "transformers", HQQ_BITS)
    try:
        return QuantizedCache(
            "hqq", network.config, nbits=HQQ_BITS[kv_cache], axis_key=1, axis_value=1,
            q_group_size=_group_of(network, kv_cache), residual_length=RESIDUAL,
        )  # fmt: skip
    except ImportError as error:
        raise Unavailable(f"Keys and values in {kv_cache} need hqq.", "Install it: pip install hqq") from error
    except ValueError as error:  # windows, recurrent layers
        raise Unavailable(
            f"Keys and values cannot be kept in {kv_cache} here: not every layer of this model reads the whole text.",
            f"Leave {MARK}{kv_cache} out.",
        ) from error


def _group_of(network: "torch.nn.Module", kv_cache: str) -> int:
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return group_size(heads, head, HQQ_BITS[kv_cache])


def group_size(heads: int, head: int, bits: int) -> int:
    """Values that share a scale, where a token's keys are `heads` vectors of `head` values each.

    HQQ packs codes of several groups into one byte. What is no whole number of bytes breaks off there, and three groups
    at 4 bits come back as others, so a group is smaller where one token would leave some over.
    """
    size = gcd(GROUP, head)
    while size > 1 and heads * (head // size) % (8 // bits):
        size //= 2
    return size


class KeyValuesAt:
    """A loaded model whose sessions keep keys and values in another type; implements `LoadedModel`."""

    def __init__(self, loaded: LoadedModel, kv_cache: str) -> None:
        self._loaded, self._kv_cache = loaded, kv_cache
        self.context_length = loaded.context_length
        self.vocabulary_size = loaded.vocabulary_size

    @property
    def facts(self) -> Facts:
        facts = self._loaded.facts
        return replace(facts, details={**facts.details, **details(self._kv_cache, self.network)})

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self._loaded.facts = facts

    @property
    def network(self) -> "torch.nn.Module | None":
        return self._loaded.network

    def start(self, capacity: int | None = None, kv_cache: str | None = None) -> Session:
        return self._loaded.start(capacity, kv_cache or self._kv_cache)

    def tokenize(self, text: str) -> tuple[int, ...] | None:
        return self._loaded.tokenize(text)

    def storage(self) -> Storage:
        return self._loaded.storage()

    def stored_bytes(self) -> int:
        return self._loaded.stored_bytes()

    def close(self) -> None:
        self._loaded.close()


def details(kv_cache: str, network: "torch.nn.Module | None") -> dict[str, str]:
    """How keys and values are kept, for `Facts.details`."""
    if network is None:
        return {"KV cache": f"{kv_cache}, with flash attention"}
    group = str(_group_of(network, kv_cache))
    return {"KV cache": f"{kv_cache} (HQQ)", GROUP_DETAIL: group, "KV residual": f"{RESIDUAL} tokens"}


def with_kv_cache(loaded: LoadedModel, kv_cache: str | None) -> LoadedModel:
    """The same model; where a type is given, its sessions keep keys and values in it."""
    return loaded if kv_cache is None else KeyValuesAt(loaded, kv_cache)
