"""From the positions to the figures of docs/measurement.md."""

import math

import numpy as np

from quantlab.errors import ModelError, NotFinite
from quantlab.fidelity.positions import Positions
from quantlab.records import CONFIDENCE, QUANTILES, Bucket, Fidelity, Perplexity, Spread

#: Blocks of neighbouring tokens that one window alone is cut into.
BLOCKS = 8


def fidelity(found: Positions, windows: int) -> Fidelity:
    """The figures over all positions, which belong to `windows` windows of equal length.

    Positions where a figure is not finite are left out and counted. Where fewer than two are left, raises NotFinite if
    the variant's own logits are the cause, ModelError if they are the reference's.
    """
    whole = np.isfinite(found.kld) & np.isfinite(found.kld_reverse) & np.isfinite(found.nll)
    whole &= np.isfinite(found.reference_nll)
    excluded = int((~whole).sum())
    if excluded > len(found) - 2:
        if found.nonfinite:
            raise NotFinite(found.nonfinite)
        raise ModelError("The reference gives no token of this text a probability.", "Choose another reference.")
    kld, same = found.kld[whole], found.same_top[whole]
    cluster = _clusters(len(found), windows)[whole]
    probability, reference = np.exp(-found.nll[whole]), np.exp(-found.reference_nll[whole])
    moved = 100 * (probability - reference)
    share = float(same.mean())
    return Fidelity(
        tokens=len(kld),
        kld=_spread(kld, cluster),
        kld_reverse=_spread(found.kld_reverse[whole], cluster),
        buckets=_buckets(kld, same, found.confidence[whole]),
        same_top=share,
        same_top_se=standard_error(same.astype(float), cluster),
        delta_p_mean=float(moved.mean()),
        delta_p_rms=float(np.sqrt(np.mean(moved**2))),
        ppl=_perplexity(found.nll[whole], found.reference_nll[whole], cluster),
        window_kld=_by_window(found.kld, whole, windows),
        nonfinite=found.nonfinite,
        excluded=excluded,
    )


def _spread(values: np.ndarray, cluster: np.ndarray) -> Spread:
    median, p90, p99, p999 = map(float, np.quantile(values, QUANTILES))
    return Spread(float(values.mean()), standard_error(values, cluster), median, p90, p99, p999, float(values.max()))


def _clusters(tokens: int, windows: int) -> np.ndarray:
    """The window of each token; of one window alone, the block of neighbours (batch means)."""
    return np.arange(tokens) * (windows if windows > 1 else min(BLOCKS, tokens)) // tokens


def standard_error(values: np.ndarray, cluster: np.ndarray) -> float | None:
    """Of the mean of `values`, those of one cluster being taken as dependent in any way; None where there is one alone.

    Tokens of one window share their text, so that their figures hang together and the error of independent ones would
    be too small. The mean is a ratio of cluster totals to cluster sizes; its error is that of Cochran, Sampling
    Techniques, 3rd edition, 1977, equation 6.13, over W clusters: W / (W - 1) * sum (total - mean * size)^2 / n^2.
    """
    _, place, size = np.unique(cluster, return_inverse=True, return_counts=True)
    if len(size) == 1:
        return None
    excess = np.bincount(place, weights=values - values.mean(), minlength=len(size))
    factor = len(size) / (len(size) - 1)
    return float(math.sqrt(factor * np.sum(excess**2)) / len(values))


def _buckets(kld: np.ndarray, same: np.ndarray, confidence: np.ndarray) -> tuple[Bucket, ...]:
    low, found = 0.0, []
    for high in CONFIDENCE:
        inside = (confidence > low) & (confidence <= high) if high < CONFIDENCE[-1] else confidence > low
        count = int(inside.sum())
        figures = (float(kld[inside].mean()), float(same[inside].mean())) if count else (None, None)
        found.append(Bucket(low, high, count, *figures))
        low = high
    return tuple(found)


def _perplexity(nll: np.ndarray, reference: np.ndarray, cluster: np.ndarray) -> Perplexity:
    """exp of a mean; its error to first order (delta method). The ratio's from the paired differences."""
    value, ratio = math.exp(nll.mean()), math.exp((nll - reference).mean())
    errors = standard_error(nll, cluster), standard_error(nll - reference, cluster)
    se, ratio_se = (None if it is None else size * it for size, it in zip((value, ratio), errors, strict=True))
    return Perplexity(value, se, ratio, ratio_se)


def _by_window(kld: np.ndarray, whole: np.ndarray, windows: int) -> tuple[float | None, ...]:
    """The mean of each window; None where nothing of it is left."""
    rows, kept = kld.reshape(windows, -1), whole.reshape(windows, -1)
    return tuple(float(row[keep].mean()) if keep.any() else None for row, keep in zip(rows, kept, strict=True))
