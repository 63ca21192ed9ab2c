"""What is kept of every scored token: a few numbers instead of two rows of the vocabulary."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch

from quantlab.fidelity.divergence import divergences, lost_tail, nonfinite

#: Elements of `[tokens, vocabulary]` that are compared at once. On a CPU half a megabyte, which its caches hold; from
#: larger blocks glibc's heap keeps several times their memory. A GPU needs large ones to be busy.
BLOCK_ELEMENTS = {"cpu": 2**17, "cuda": 2**24}
#: Tokens whose logits a session is asked for at once: the scored half of a window.
BLOCK_TOKENS = 256


@dataclass(frozen=True)
class Positions:
    """Arrays `[tokens]` over the scored tokens, float64 but for `same_top`. Probabilities in [0, 1], the rest in nats.

    `probability` and `reference_probability` are those of the token that really follows, `nll` their negative
    logarithms; `confidence` is the reference's probability of its own likeliest token. `nonfinite` counts the
    variant's logits that are infinite or not a number; a position where a figure came out as neither is not finite
    here either.
    """

    kld: np.ndarray
    kld_reverse: np.ndarray
    same_top: np.ndarray
    nll: np.ndarray
    reference_nll: np.ndarray
    confidence: np.ndarray
    nonfinite: int = 0

    def __len__(self) -> int:
        return len(self.kld)


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """float32 log-softmax of logits `[tokens, vocabulary]` over the full vocabulary."""
    return torch.log_softmax(logits.float(), dim=-1)


@torch.inference_mode()
def compare(logits: torch.Tensor, reference: torch.Tensor, following: torch.Tensor) -> Positions:
    """Compare logits `[tokens, vocabulary]` with the reference's log-probabilities of the same tokens.

    `following` `[tokens]` are the ids that really follow. Both divergences are those of `divergence.divergences`, p the
    reference. Of two vocabularies padded differently the smaller one counts.
    """
    bad = nonfinite(logits)
    width = min(logits.shape[-1], reference.shape[-1])
    whole = log_probabilities(logits)
    q, p = whole[:, :width], reference[:, :width]
    confidence, top = p.max(-1)
    index = following.unsqueeze(-1)
    forward, reverse = divergences(p, q, lost_tail(reference, whole))
    return Positions(
        kld=_host(forward),
        kld_reverse=_host(reverse),
        same_top=((q.argmax(-1) == top) & ~forward.isnan()).cpu().numpy(),
        nll=_host(-q.gather(-1, index).squeeze(-1)),
        reference_nll=_host(-p.gather(-1, index).squeeze(-1)),
        confidence=_host(confidence.exp()),
        nonfinite=bad,
    )


def _host(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def joined(parts: Iterable[Positions]) -> Positions:
    """The positions of several blocks, in order."""
    parts = list(parts)
    names = [field.name for field in fields(Positions) if field.name != "nonfinite"]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Positions(**arrays, nonfinite=sum(part.nonfinite for part in parts))
