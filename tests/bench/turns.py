"""Two things timed in turn, because the machine may be shared."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

Timed = Callable[[], float]


@dataclass(frozen=True)
class Turns:
    """Medians of seconds; `ratio` is that of neighbouring runs, the other's over ours: above 1, ours is faster.

    `ratio_low` and `ratio_high` are the quartiles of those ratios.
    """

    ours_s: float
    other_s: float
    ratio: float
    ratio_low: float
    ratio_high: float


def in_turn(ours: Timed, other: Timed, repeats: int) -> Turns:
    """Call both `repeats` times; each gives its seconds."""
    pairs = []
    for repeat in range(repeats):
        # Each goes first in turn, so that neither always meets the other's warm caches.
        order = (ours, other) if repeat % 2 else (other, ours)
        seconds = {work: work() for work in order}
        pairs.append((seconds[ours], seconds[other]))
    mine, theirs = (median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(b / a for a, b in pairs)
    quarter = len(ratios) // 4
    return Turns(mine, theirs, median(ratios), ratios[quarter], ratios[-1 - quarter])
