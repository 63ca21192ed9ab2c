"""Choose the next token: greedily, or with random numbers that are the same for every variant."""

from collections.abc import Callable

import torch

from quantlab.errors import BadInput
from quantlab.records import Settings

Sampler = Callable[[torch.Tensor], int]


def sampler(settings: Settings) -> Sampler:
    """A function from logits `[vocabulary]` to a token id. A new one for every run: it counts its own draws.

    Raises BadInput for a setting out of range.
    """
    if not settings.sample:
        return _likeliest
    if not 0 < settings.temperature < float("inf"):
        raise BadInput(
            "The temperature must be a number above 0.", "Turn sampling off for the likeliest token each time."
        )
    if not 0 < settings.top_p <= 1:
        raise BadInput("top-p must lie above 0 and at most at 1.")
    if settings.top_k < 0:
        raise BadInput("top-k must not be negative.", "0 turns it off.")
    if not 0 <= settings.seed < 2**63:
        raise BadInput("The seed must be a whole number from 0 up to 2^63 - 1.")
    return _GumbelSampler(settings)


def _likeliest(logits: torch.Tensor) -> int:
    """The first of the largest. On a CPU by numpy, whose search is vectorized.

    float32 holds every value of the narrower types, so nothing changes its order. Where a token takes a fifth of a
    millisecond, each call into torch that is left out is half a percent of it.
    """
    if not logits.is_cpu:
        return int(logits.argmax())
    return int((logits if logits.dtype is torch.float32 else logits.float()).numpy().argmax())


class _GumbelSampler:
    """Sampling as the argmax of logits plus Gumbel noise (Gumbel-max trick; Maddison et al. 2014, arXiv:1411.0030).

    It draws from the same distribution as a multinomial draw would. With the same noise for every variant two of
    them part only where their probabilities do: a lone uniform number would part them where their order differs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # On the CPU always, because every device has random numbers of its own.
        self._generator = torch.Generator().manual_seed(settings.seed)

    def __call__(self, logits: torch.Tensor) -> int:
        scores = _keep_likely(logits.float() / self._settings.temperature, self._settings.top_k, self._settings.top_p)
        uniform = torch.rand(logits.shape[-1], generator=self._generator, dtype=torch.float64).clamp_(min=1e-300)
        noise = -torch.log(-torch.log(uniform))
        return _likeliest(scores + noise.float().to(scores.device))


def _keep_likely(scores: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Set all but the `top_k` best, then all beyond the smallest set that holds `top_p`, to minus infinity."""
    if 0 < top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], float("-inf"))
    if top_p < 1:
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        beyond = probabilities.cumsum(-1) - probabilities >= top_p
        scores = scores.index_fill(0, order[beyond], float("-inf"))
    return scores
