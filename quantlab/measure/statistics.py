"""Statistics of raw samples. Plain Python: the samples of one run are a few hundred numbers."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float | None:
    """The value below which `percent` of the samples lie, between two samples by linear interpolation.

    The same as numpy's default method, so NaN where a sample is NaN. None where there are no samples. Raises
    ValueError for a `percent` outside [0, 100].
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must lie between 0 and 100, got {percent}")
    if not samples:
        return None
    if any(map(math.isnan, samples)):
        return math.nan  # no order holds among samples with a NaN
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]  # not by the formula, in which two infinities would give NaN
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(samples: Sequence[float]) -> float | None:
    """The middle sample, or halfway between the two in the middle. None where there are no samples."""
    return percentile(samples, 50)


def mean(samples: Sequence[float]) -> float | None:
    """The arithmetic mean, None where there are no samples."""
    return sum(samples) / len(samples) if samples else None
