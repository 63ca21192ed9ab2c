"""A log axis with a place for zero, and the chart that says that there is nothing to draw."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantlab.fidelity.summary import NOTHING
from quantlab.records import Quality
from quantlab.reporting.charts import style

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Room beneath the smallest value, in decades: for the line of zero, and from it to the edge.
_TO_ZERO, _TO_EDGE = 0.6, 0.25


def nothing(quality: Quality) -> "go.Figure":
    """The empty chart of a quality without a single figure against the reference."""
    others = [run for run in quality.runs if run.precision != quality.reference]
    if not others:
        return style.empty(f"Only {quality.reference} was asked for. A second precision would show how they differ.")
    if all(run.stopped or run.error is None for run in others):
        return style.empty(f"Nothing has been compared with {quality.reference} yet. Let it run, or start it again.")
    return style.empty(
        f"No precision could be compared with the reference {quality.reference}. The table says why; choose others."
    )


@dataclass(frozen=True)
class LogScale:
    """The extent of a log axis, as decimal logarithms. Zero, which a log axis lacks, is drawn at `zero` if not None."""

    low: float
    high: float
    zero: float | None

    def place(self, value: float) -> float:
        """Where a value is drawn, on the axis' own scale: nothing lies below the line of zero, or the edge."""
        return max(value, 10 ** (self.low if self.zero is None else self.zero))

    def bar_below(self, value: float, error: float) -> float:
        """How far an error bar reaches down from where `value` is drawn; not past the edge of the axis."""
        drawn = self.place(value)
        return max(0.0, min(error, drawn - 10**self.low))

    def axis(self, **more: object) -> dict:
        """The axis with its decades named, and the line of zero as 0."""
        span = self.high - self.low
        steps = (1, 2, 3, 5, 7) if span < 1.3 else (1, 2, 5) if span < 1.8 else (1,)
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        exponents = [d + math.log10(step) for d in decades for step in steps]
        clear = self.low if self.zero is None else self.zero + 0.3
        shown = [e for e in exponents if clear <= e <= self.high]
        # A wide scale names every second decade, so that the names keep apart on a narrow page.
        shown = [e for e in shown if len(shown) <= 6 or round(e) % 2 == 0]
        ticks = {10**e: _decade(10**e) for e in shown} | ({} if self.zero is None else {10**self.zero: "0"})
        return style.axis(type="log", range=[self.low, self.high], autorange=False, tickmode="array",
                          tickvals=list(ticks), ticktext=list(ticks.values()), **more)  # fmt: skip


def log_scale(values: Iterable[float], zero: bool = False) -> LogScale:
    """A scale for all `values`; those of them that are nothing, and `zero`, ask for a line of zero."""
    found = [value for value in values if math.isfinite(value)]
    logs = [math.log10(value) for value in found if value >= NOTHING] or [-4.0]
    needs_zero = zero or any(value < NOTHING for value in found)
    line = min(logs) - _TO_ZERO if needs_zero else None
    return LogScale((min(logs) if line is None else line) - _TO_EDGE, max(logs) + _TO_EDGE, line)


def _decade(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.9e-4 else f"{value:.4f}".rstrip("0").rstrip(".")
