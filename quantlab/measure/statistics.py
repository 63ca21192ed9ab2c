"""Statistics of raw samples, by numpy, which is imported when it is first asked: the command line starts without it.

Samples that are not finite are no fault here, and give what they lead to: infinity, or NaN. `records` takes its medians
from Python's `statistics`: that room imports nothing else.
"""

import math
from collections.abc import Sequence
from statistics import fmean


def percentile(samples: Sequence[float], percent: float) -> float | None:
    """The value below which `percent` of the samples lie, between two samples by linear interpolation.

    It is numpy's method `linear` (type 7 of Hyndman and Fan), so NaN where a sample is NaN. None where there are no
    samples. Raises ValueError for a `percent` outside [0, 100].
    """
    import numpy as np

    if not 0 <= percent <= 100:
        raise ValueError(f"percent must lie between 0 and 100, got {percent}")
    if not samples:
        return None
    values = np.asarray(samples, dtype=float)
    with np.errstate(all="ignore"):
        if not math.isnan(found := np.percentile(values, percent)):
            return float(found)
        # Beside an infinity the interpolation makes NaN also where there is nothing to interpolate.
        low, high = (np.percentile(values, percent, method=side) for side in ("lower", "higher"))
        return float(low if low == high else low + high)


def median(samples: Sequence[float]) -> float | None:
    """The middle sample, or halfway between the two in the middle. None where there are no samples."""
    import numpy as np

    with np.errstate(all="ignore"):
        return float(np.median(samples)) if samples else None


def mean(samples: Sequence[float]) -> float | None:
    """The arithmetic mean, rounded once; None where there are no samples.

    Not numpy's, which rounds as it adds: 63 gaps of 0.3 s would have a mean above 0.3 s.
    """
    if not samples:
        return None
    try:
        return fmean(samples)
    except (ValueError, OverflowError):  # infinities of both signs, a sum beyond the largest number
        return sum(samples) / len(samples)


def deviation(samples: Sequence[float]) -> float | None:
    """The standard deviation, of n - 1. None where there are fewer than two samples."""
    import numpy as np

    with np.errstate(all="ignore"):
        return float(np.std(samples, ddof=1)) if len(samples) > 1 else None
