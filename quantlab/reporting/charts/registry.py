"""Which charts a record has, and what stands in each: one list for the page, the report and a notebook's cell.

Nothing is imported here that draws: plotly comes with the first figure.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from quantlab.fidelity import summary
from quantlab.records import Comparison, Quality

if TYPE_CHECKING:
    from quantlab.reporting.charts.table import Table

log = logging.getLogger(__name__)


def _nobody(record: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Drawing:
    """A function that draws one figure, by the names of its module and itself. `name` tells it from its neighbours.

    `on_page` is the function for the page, where that is another one.
    """

    module: str
    function: str = "figure"
    name: str = ""
    on_page: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: one figure or several, and the table that has the same figures in text.

    `key` is its name in the page's ids, title and caption are for people. `has` tells whether a record has anything for
    it. `twin` is the module and function of the table. `each` gives names, of precisions or tasks: with `drawn_each`
    the figure is of one of them, with `tabled_each` the table. `pick` is the label of the choice among them on the
    page; without one all tables are shown. `folded`: a report folds its long table away.
    """

    key: str
    title: str
    caption: str
    drawings: tuple[Drawing, ...]
    twin: tuple[str, str]
    has: Callable[[Any], bool]
    each: Callable[[Any], tuple[str, ...]] = _nobody
    drawn_each: bool = False
    tabled_each: bool = False
    pick: str = ""
    folded: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its figures."""
        return tuple(it.name for it in self.drawings)

    def options(self, record: Comparison | Quality) -> tuple[str, ...]:
        """What can be picked."""
        return self.each(record) if self.pick else ()

    def figures(self, record: Comparison | Quality, name: str = "", *, page: bool = False) -> tuple[Any, ...]:
        """The Plotly figures of a record, or of one `name` of it."""
        functions = ((it.module, (page and it.on_page) or it.function) for it in self.drawings)
        return tuple(_call(*each, record, *([name] if self.drawn_each else [])) for each in functions)

    def table(self, record: Comparison | Quality, name: str = "") -> "Table":
        """The table of a record, or of one `name` of it."""
        return _call(*self.twin, record, *([name] if self.tabled_each else []))

    def drawn(
        self, record: Comparison | Quality, picked: str = ""
    ) -> "tuple[tuple[Any, ...], tuple[Table, ...] | None]":
        """Figures and tables for the page; None for all where they cannot be made, which the log then explains.

        What cannot be drawn must not take the answers with it.
        """
        names = self.each(record) if self.tabled_each and not self.pick else (picked,)
        try:
            return self.figures(record, picked, page=True), tuple(self.table(record, name) for name in names)
        except Exception:
            log.exception("the chart %s failed", self.key)
            return (None,) * len(self.drawings), None


def _call(module: str, function: str, *arguments: Any) -> Any:
    return getattr(import_module(f"quantlab.reporting.charts.{module}"), function)(*arguments)


def _read_tokens(comparison: Comparison) -> tuple[str, ...]:
    runs = (run for run in comparison.runs if run.precision != comparison.reference and run.error is None)
    return tuple(run.precision for run in runs if run.differences)


def _compared(quality: Quality) -> bool:
    return bool(summary.compared(quality))


def _answered(quality: Quality) -> tuple[str, ...]:
    """The tasks that can be drawn: of a group that was asked for its members."""
    return tuple(task for task in quality.tasks if any(task in run.tasks for run in quality.runs))


def _looked_into(quality: Quality) -> tuple[str, ...]:
    return tuple(run.precision for run in quality.runs if run.layers)


COMPARISON = (
    Chart(
        "memory", "Memory",
        "What the weights take, part by part, and the most memory in use. On a processor the latter is an estimate: "
        "two runs of the same weights can show two peaks.",
        (Drawing("memory", name="by part"),), ("memory", "table"),
        lambda comparison: any(run.load for run in comparison.runs),
    ),
    Chart(
        "time", "Speed", "Until the first token, between tokens, and tokens per second.",
        (Drawing("latency", name="latency", on_page="unnoted"),), ("latency", "table"),
        lambda comparison: any(run.timing for run in comparison.runs),
    ),
    Chart(
        "difference", "Difference", "How far each lies from the reference when it reads the reference’s answer.",
        (Drawing("difference", "summary", "summary"),), ("difference_table", "table"),
        lambda comparison: bool(_read_tokens(comparison)),
    ),
    Chart(
        "tokens", "Token by token",
        "All read the reference’s answer. Dots: a different likeliest token; squares: the first difference in writing.",
        (Drawing("difference", "figure", "divergence"), Drawing("difference", "probabilities", "probability")),
        ("difference_table", "token_table"), lambda comparison: bool(_read_tokens(comparison)),
        _read_tokens, tabled_each=True, folded=True,
    ),
)  # fmt: skip
QUALITY = (
    Chart(
        "quality-map", "What quality costs",
        "Distance to the reference (mean KLD) against memory and against speed. Further down is closer.",
        (Drawing("quality_map"),), ("quality_map", "table"), _compared,
    ),
    Chart(
        "quality-spread", "How the distance spreads",
        "The mean hides that most tokens are untouched and a few are ruined: KLD, quantile by quantile.",
        (Drawing("kld_spread"),), ("kld_spread", "table"), _compared,
    ),
    Chart(
        "quality-confidence", "Where the reference is sure",
        "A change hurts most where the reference was sure. Tokens by the probability of its likeliest one.",
        (Drawing("confidence"),), ("confidence", "table"), _compared,
    ),
    Chart(
        "quality-flips", "Answers that changed",
        "Equal accuracies can hide many changed answers (flips): lost and won against the reference.",
        (Drawing("flips"),), ("flips", "table"), lambda quality: bool(_answered(quality)),
        _answered, drawn_each=True, pick="Task",
    ),
    Chart(
        "quality-layers", "Where the error arises",
        "How far each layer, given the reference’s input, is off in its output: relative error (Frobenius norm).",
        (Drawing("layers"),), ("layers", "table"), lambda quality: bool(_looked_into(quality)),
        _looked_into, drawn_each=True, tabled_each=True, pick="Precision", folded=True,
    ),
)  # fmt: skip


def charts_of(record: Comparison | Quality) -> tuple[Chart, ...]:
    """The charts of a record's kind, in their order."""
    return COMPARISON if isinstance(record, Comparison) else QUALITY
