"""The decode loop: one prompt through one session, token by token.

It is a generator that knows nothing of clocks, screens or stops. Whoever times it times `next()` from outside; what
the consumer does between two tokens is not the model's time and is not counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantlab.runtime.sampling import Sampler
from quantlab.runtime.session import Session

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Step:
    """A new token and the logits `[vocabulary]` it was chosen from, on the device."""

    token_id: int
    logits: "torch.Tensor"


def decode(session: Session, prompt: Sequence[int], new_tokens: int, choose: Sampler) -> Iterator[Step]:
    """Yield `new_tokens` steps. The first one holds the prefill; the last token is never fed back.

    End-of-text does not stop the loop: every variant computes the same number of tokens, so that rates compare.
    The token id is read off the device before a step is yielded, which waits for the device's work.
    """
    logits = session.forward(prompt)
    for left in range(new_tokens, 0, -1):
        token_id = choose(logits)
        yield Step(token_id, logits)
        if left > 1:
            logits = session.forward([token_id])
