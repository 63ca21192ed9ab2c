"""From a rounded row to the records of what is shown of it."""

import math
from collections.abc import Sequence

import torch

from quantlab.methods.rounded import Rounded
from quantlab.records.inside import Grid, GridFigures, Histogram, Scale

BINS = 60


def grid(name: str, summary: str, found: Rounded, values: torch.Tensor, columns: slice, count: int) -> Grid:
    """What one method makes of `values`, the numbers at `columns` of the only row that `found` holds.

    `count` are the numbers of the whole matrix.
    """
    codes, kept, group = found.codes[0, columns], found.values[0, columns], found.group[0, columns]
    scales = tuple(
        _scale(found, codes[start:stop], kept[start:stop], start, stop, int(group[start]))
        for start, stop in _stretches(group)
    )
    error = (kept.double() - values.double()).abs()
    first, *others = (8 * nbytes / count for nbytes in found.parts.values())
    figures = GridFigures(
        name,
        summary,
        levels=max(len(set(scale.levels)) for scale in scales),
        snr_db=_ratio(values, error),
        max_error=float(error.max()),
        rms_error=float(error.square().mean().sqrt()),
        code_bits=first,
        overhead_bits=sum(others),
        note=found.note.strip(),
        caution=found.caution,
    )
    return Grid(figures, tuple(codes.tolist()), tuple(kept.tolist()), scales, dict(found.parts))


def _stretches(group: torch.Tensor) -> list[tuple[int, int]]:
    """Where neighbours share a group: (start, stop), in order."""
    ends = (torch.nonzero(group[1:] != group[:-1]).flatten() + 1).tolist()
    return list(zip([0, *ends], [*ends, len(group)], strict=True))


def _scale(found: Rounded, codes: torch.Tensor, kept: torch.Tensor, start: int, stop: int, group: int) -> Scale:
    levels = found.levels(group)
    # Where a method multiplies in another order, its own figure may differ in the last digit: that one counts.
    levels[codes - found.first] = kept
    order = torch.argsort(levels, stable=True)
    return Scale(
        start,
        stop,
        float(found.scale[group]),
        tuple(levels[order].tolist()),
        tuple((order + found.first).tolist()),
        None if found.zero is None else float(found.zero[group]),
        None if found.minimum is None else float(found.minimum[group]),
    )


def _ratio(values: torch.Tensor, error: torch.Tensor) -> float | None:
    noise, signal = float(error.square().sum()), float(values.double().square().sum())
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None


def histogram(weight: torch.Tensor, shown: Sequence[float]) -> Histogram:
    """Of all numbers of a matrix, in bins of equal width over the range of what is shown."""
    low, high = min(shown), max(shown)
    if low == high:  # one value: a bin around it
        low, high = low - max(abs(low), 1.0) / 100, high + max(abs(high), 1.0) / 100
    flat = weight.float().flatten()
    counts = torch.histc(flat, BINS, low, high)
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64).tolist()
    return Histogram(tuple(edges), tuple(map(int, counts.tolist())), int((flat < low).sum()), int((flat > high).sum()))
