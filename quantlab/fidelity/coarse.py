"""How far apart two variants are where of one only the likeliest tokens are known."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: No probability of all other tokens together is taken to be less: what is left of one in float32 is rounding.
_LEAST = 1e-6


def coarse_kld(reference: "torch.Tensor", told: Mapping[str, float], ids_of: Callable[[str], Sequence[int]]) -> float:
    """KLD of two distributions over the tokens that are `told` (text to log-probability), and all others as one.

    `reference` are log-probabilities `[vocabulary]`; `ids_of` gives the ids of a token by its text, none where the
    tokenizer has no such token, which then is one of the others. To put tokens together never makes a divergence larger
    (the log sum inequality: Cover and Thomas 2006, theorem 2.7.1), so this is at most the full KLD. In nats.
    """
    p_all, q_all, found = 0.0, 0.0, 0.0
    seen: set[int] = set()
    for text, log_q in told.items():
        ids = [it for it in ids_of(text) if it < len(reference) and it not in seen]
        seen.update(ids)
        p = float(reference[ids].double().exp().sum()) if ids else 0.0
        q = math.exp(log_q)
        if not ids:
            continue
        p_all, q_all = p_all + p, q_all + q
        found += p * (math.log(p) - log_q) if p > 0 else 0.0
    p_rest, q_rest = max(1 - p_all, 0.0), max(1 - q_all, _LEAST)
    found += p_rest * math.log(p_rest / q_rest) if p_rest > 0 else 0.0
    return max(found, 0.0)
