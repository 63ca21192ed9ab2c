"""The charts of the quality tab: which there are, and how one becomes a figure and an accessible table."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from quantlab.fidelity.summary import compared
from quantlab.records import Quality

if TYPE_CHECKING:
    from quantlab.reporting.charts.table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QualityChart:
    """One panel. `has` tells whether a quality has anything for it.

    `pick` is the label of a choice that the figure needs, and `options` what can be chosen; without one both are empty.
    `module` imports what draws it, and with it plotly.
    """

    key: str
    title: str
    caption: str
    module: Callable[[], ModuleType]
    has: Callable[[Quality], bool]
    pick: str = ""
    options: Callable[[Quality], tuple[str, ...]] = lambda quality: ()
    table_takes_pick: bool = False

    def drawn(self, quality: Quality, picked: str) -> "tuple[tuple[Any], tuple[Table, ...] | None]":
        """The Plotly figure and its table twin; None for both where they cannot be made, which the log then explains.

        What cannot be drawn must not take the figures with it.
        """
        try:
            module = self.module()
            figure = module.figure(quality, picked) if self.pick else module.figure(quality)
            table = module.table(quality, picked) if self.table_takes_pick else module.table(quality)
        except Exception:
            log.exception("the chart %s failed", self.key)
            return (None,), None
        return (figure,), (table,)


def _map() -> ModuleType:
    from quantlab.reporting.charts import quality_map

    return quality_map


def _spread() -> ModuleType:
    from quantlab.reporting.charts import kld_spread

    return kld_spread


def _confidence() -> ModuleType:
    from quantlab.reporting.charts import confidence

    return confidence


def _flips() -> ModuleType:
    from quantlab.reporting.charts import flips

    return flips


def _layers() -> ModuleType:
    from quantlab.reporting.charts import layers

    return layers


def _compared(quality: Quality) -> bool:
    return bool(compared(quality))


def _answered(quality: Quality) -> tuple[str, ...]:
    """The tasks that can be drawn: of a group that was asked for its members."""
    return tuple(task for task in quality.tasks if any(task in run.tasks for run in quality.runs))


def _looked_into(quality: Quality) -> tuple[str, ...]:
    return tuple(run.precision for run in quality.runs if run.layers)


CHARTS = (
    QualityChart(
        "quality-map", "What quality costs",
        "Distance to the reference (mean KLD) against memory and against speed. Further down is closer.",
        _map, _compared,
    ),
    QualityChart(
        "quality-spread", "How the distance spreads",
        "The mean hides that most tokens are untouched and a few are ruined: KLD, quantile by quantile.",
        _spread, _compared,
    ),
    QualityChart(
        "quality-confidence", "Where the reference is sure",
        "A change hurts most where the reference was sure. Tokens by the probability of its likeliest one.",
        _confidence, _compared,
    ),
    QualityChart(
        "quality-flips", "Answers that changed",
        "Equal accuracies can hide many changed answers (flips): lost and won against the reference.",
        _flips, lambda quality: bool(_answered(quality)), "Task", _answered,
    ),
    QualityChart(
        "quality-layers", "Where the error arises",
        "How far each layer, given the reference’s input, is off in its output: relative error (Frobenius norm).",
        _layers, lambda quality: bool(_looked_into(quality)), "Precision", _looked_into, True,
    ),
)  # fmt: skip
