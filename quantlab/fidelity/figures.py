"""From the positions to the figures of docs/measurement.md."""

import math

import numpy as np

from quantlab.errors import ModelError
from quantlab.fidelity.positions import Positions
from quantlab.records import CONFIDENCE, QUANTILES, Bucket, Fidelity, Perplexity, Spread


def fidelity(found: Positions, windows: int) -> Fidelity:
    """The figures over all positions, which belong to `windows` windows of equal length.

    Positions where a figure is not finite are left out and counted. Raises ModelError where fewer than two are left.
    """
    whole = np.isfinite(found.kld) & np.isfinite(found.kld_reverse) & np.isfinite(found.nll)
    whole &= np.isfinite(found.reference_nll)
    excluded = int((~whole).sum())
    if excluded > len(found) - 2:
        raise ModelError(
            f"Its logits make no distributions: {found.nonfinite:,} are infinite or not a number.",
            "Choose another compute dtype, or more bits.",
        )
    kld, same = found.kld[whole], found.same_top[whole]
    probability, reference = np.exp(-found.nll[whole]), np.exp(-found.reference_nll[whole])
    moved = 100 * (probability - reference)
    share = float(same.mean())
    return Fidelity(
        tokens=len(kld),
        kld=_spread(kld),
        kld_reverse=_spread(found.kld_reverse[whole]),
        buckets=_buckets(kld, same, found.confidence[whole]),
        same_top=share,
        same_top_se=math.sqrt(share * (1 - share) / max(1, len(kld) - 1)),
        delta_p_mean=float(moved.mean()),
        delta_p_rms=float(np.sqrt(np.mean(moved**2))),
        ppl=_perplexity(found.nll[whole], found.reference_nll[whole]),
        window_kld=_by_window(found.kld, whole, windows),
        nonfinite=found.nonfinite,
        excluded=excluded,
    )


def _spread(values: np.ndarray) -> Spread:
    quantiles = np.quantile(values, QUANTILES)
    return Spread(float(values.mean()), _standard_error(values), *map(float, quantiles), float(values.max()))


def _standard_error(values: np.ndarray) -> float:
    """Of the mean, as if the tokens were independent."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _buckets(kld: np.ndarray, same: np.ndarray, confidence: np.ndarray) -> tuple[Bucket, ...]:
    low, found = 0.0, []
    for high in CONFIDENCE:
        inside = (confidence > low) & (confidence <= high) if high < CONFIDENCE[-1] else confidence > low
        count = int(inside.sum())
        figures = (float(kld[inside].mean()), float(same[inside].mean())) if count else (None, None)
        found.append(Bucket(low, high, count, *figures))
        low = high
    return tuple(found)


def _perplexity(nll: np.ndarray, reference: np.ndarray) -> Perplexity:
    """exp of a mean; its error to first order (delta method). The ratio's from the paired differences."""
    value, ratio = math.exp(nll.mean()), math.exp((nll - reference).mean())
    return Perplexity(value, value * _standard_error(nll), ratio, ratio * _standard_error(nll - reference))


def _by_window(kld: np.ndarray, whole: np.ndarray, windows: int) -> tuple[float | None, ...]:
    """The mean of each window; None where nothing of it is left."""
    rows, kept = kld.reshape(windows, -1), whole.reshape(windows, -1)
    return tuple(float(row[keep].mean()) if keep.any() else None for row, keep in zip(rows, kept, strict=True))
