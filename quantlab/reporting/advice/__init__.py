"""A recommendation in words, with its reasons, from the figures of a `Quality`.

What it says of two precisions rests on a paired test: both read the same windows, so the differences of their windows'
mean KLD show less scatter than either alone. The windows are taken as independent samples, which 512 tokens apart and
each read from an empty cache they nearly are. Nothing is ever called better than the reference: a distance has no sign.
"""

import itertools
from dataclasses import dataclass

from quantlab.fidelity.summary import compared
from quantlab.records import Quality
from quantlab.reporting.advice import cautions, choosing
from quantlab.reporting.advice.pairs import Pair, pair
from quantlab.reporting.advice.words import few, in_noise, round_up, upper

__all__ = ["KLD_BOUND", "Advice", "Pair", "advise", "round_up", "upper"]

#: Near enough for most, in nats: a perplexity some five percent higher on text of the reference's own, exp(0.05), as
#: the expected rise of the negative log-likelihood there is the KLD itself.
KLD_BOUND = 0.05


@dataclass(frozen=True)
class Advice:
    """Names of the recommended precisions, None where there is none, and the sentences that say it and why.

    `ranking` goes from the closest to the reference to the farthest; `within_floor` are those whose divergence is no
    larger than the noise floor.
    """

    smallest: str | None
    fastest: str | None
    ranking: tuple[str, ...]
    within_floor: tuple[str, ...]
    recommendations: tuple[str, ...]
    noise: tuple[str, ...]
    pairs: tuple[Pair, ...]
    cautions: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything, in the order to read it."""
        return (*self.recommendations, *self.cautions, *self.noise, *(it.sentence for it in self.pairs))


def advise(quality: Quality, kld_bound: float, memory_bytes: int | None = None) -> Advice:
    """What to take: the smallest precision whose mean KLD stays under `kld_bound` (nats), the fastest that fits.

    A mean stays under the bound when its 95 % confidence interval does; one of fewer than 16 positions decides nothing.
    The fastest is named where the speeds bear it (see `trust`). `memory_bytes` None is no limit. Raises ValueError
    for a bound or a memory that is not positive.
    """
    if not kld_bound > 0 or (memory_bytes is not None and memory_bytes <= 0):
        raise ValueError("the bound and the memory must be larger than zero")
    ranked = sorted((run for run in compared(quality) if not few(run.fidelity)), key=lambda run: run.fidelity.kld.mean)
    smallest, smallest_said = choosing.smallest(quality, ranked, kld_bound)
    fastest, fastest_said = choosing.fastest(quality, kld_bound, memory_bytes)
    return Advice(
        smallest=smallest,
        fastest=fastest,
        ranking=tuple(run.precision for run in ranked),
        within_floor=tuple(run.precision for run in ranked if in_noise(quality, run.fidelity)),
        recommendations=(*smallest_said, *fastest_said),
        noise=tuple(cautions.of_noise(quality, ranked, kld_bound)),
        pairs=tuple(pair(quality, one, other) for one, other in itertools.pairwise(ranked)),
        cautions=tuple(cautions.others(quality, ranked)),
    )
