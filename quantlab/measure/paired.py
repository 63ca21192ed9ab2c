"""Whether two means differ: Student's t over paired samples.

The test and its critical value: NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1 (paired observations) and
1.3.6.7.2 (t table).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantlab.measure.statistics import deviation, mean

#: The confidence of every statement about two means.
CONFIDENCE = 0.95


def within(t: float, freedom: int) -> float:
    """The probability that |T| <= t for Student's T with `freedom` degrees of freedom, a whole number from 1 on.

    Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: finite sums, exact.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= (power - 1) / power * cosine**2
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def critical(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Student's two-sided critical value: |T| stays below it with probability `confidence`, in (0, 1).

    Raises ValueError for less than one degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"at least one degree of freedom is needed, got {freedom}")
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` >= 2 samples, its standard error, and the critical value that goes with that many."""

    n: int
    mean: float
    se: float
    critical: float

    @property
    def margin(self) -> float:
        """Half the width of the confidence interval of the mean."""
        return self.critical * self.se

    @property
    def apart(self) -> bool:
        """Whether the mean differs from zero at `CONFIDENCE`."""
        return abs(self.mean) > self.margin

    @property
    def needed(self) -> int | None:
        """Samples that would tell the mean from zero, if mean and scatter stay: n * (critical * se / |mean|)^2.

        The margin shrinks with the root of n (e-Handbook, 7.2.2.2). None where the mean is zero, or next to
        it: no number would.
        """
        ratio = self.margin / self.mean if self.mean else math.inf
        return math.ceil(self.n * ratio * ratio) if math.isfinite(ratio * ratio) else None


def estimate(samples: Sequence[float | None]) -> Estimate | None:
    """The mean of the samples that are finite numbers with its error. None where there are fewer than two."""
    found = [sample for sample in samples if sample is not None and math.isfinite(sample)]
    if len(found) < 2:
        return None
    middle, apart = mean(found) or 0.0, deviation(found) or 0.0
    return Estimate(len(found), middle, apart / math.sqrt(len(found)), critical(len(found) - 1))


def difference(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Estimate | None:
    """The mean of ours - theirs, sample by sample. None where they do not pair: other lengths, or fewer than two."""
    if len(ours) != len(theirs):
        return None
    pairs = zip(ours, theirs, strict=True)
    return estimate([None if a is None or b is None else a - b for a, b in pairs])
