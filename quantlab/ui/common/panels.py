"""The charts under the columns: which there are, and how one becomes figures and an accessible table."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from quantlab.records import Comparison
from quantlab.reporting.templates import Pieces

if TYPE_CHECKING:
    from quantlab.reporting.charts.table import Table


class Titled(Protocol):
    """A panel's names: `key` in the page's ids, title and caption for people."""

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def caption(self) -> str: ...


@dataclass(frozen=True)
class Named:
    """The names of a panel that is no `Chart` of a comparison; see `Titled`."""

    key: str
    title: str
    caption: str


log = logging.getLogger(__name__)
_HTML, _PIECES = Pieces("ui/common/panels.html"), Pieces("ui/common/pieces.html")


@dataclass(frozen=True)
class Chart:
    """One panel of charts, of as many figures as it has `parts` (their names for people).

    `draw` gives the Plotly figures, `tabulate` their table twins; plotly is imported when `draw` is called.
    `has` tells whether a comparison has anything for it.
    """

    key: str
    title: str
    caption: str
    parts: tuple[str, ...]
    draw: Callable[[Comparison], tuple[Any, ...]]
    tabulate: Callable[[Comparison], "tuple[Table, ...]"]
    has: Callable[[Comparison], bool]

    def drawn(self, comparison: Comparison, _picked: str = "") -> "tuple[tuple[Any, ...], tuple[Table, ...] | None]":
        """Figures and table twins; without any where they cannot be made, which the log then explains.

        What cannot be drawn must not take the answers with it.
        """
        try:
            return self.draw(comparison), self.tabulate(comparison)
        except Exception:
            log.exception("the chart %s failed", self.key)
            return (None,) * len(self.parts), None


def _draw_memory(comparison: Comparison) -> tuple[Any, ...]:
    from quantlab.reporting.charts import memory

    return (memory.figure(comparison),)


def _tabulate_memory(comparison: Comparison) -> "tuple[Table, ...]":
    from quantlab.reporting.charts import memory

    return (memory.table(comparison),)


def _draw_time(comparison: Comparison) -> tuple[Any, ...]:
    from quantlab.reporting.charts import latency

    return (latency.figure(comparison, noted=False),)  # a phone's width would make many lines of the note


def _tabulate_time(comparison: Comparison) -> "tuple[Table, ...]":
    from quantlab.reporting.charts import latency

    return (latency.table(comparison),)


def _draw_difference(comparison: Comparison) -> tuple[Any, ...]:
    from quantlab.reporting.charts import difference

    return (difference.summary(comparison),)


def _tabulate_difference(comparison: Comparison) -> "tuple[Table, ...]":
    from quantlab.reporting.charts import difference_table

    return (difference_table.table(comparison),)


def _draw_tokens(comparison: Comparison) -> tuple[Any, ...]:
    from quantlab.reporting.charts import difference

    return (difference.figure(comparison), difference.probabilities(comparison))


def _tabulate_tokens(comparison: Comparison) -> "tuple[Table, ...]":
    from quantlab.reporting.charts import difference_table

    others = (run.precision for run in comparison.runs if run.precision != comparison.reference)
    return tuple(difference_table.token_table(comparison, name) for name in others)


def _compared(comparison: Comparison) -> bool:
    return any(run.differences for run in comparison.runs if run.precision != comparison.reference)


CHARTS = (
    Chart(
        "memory", "Memory",
        "What the weights take, part by part, and the most memory in use. On a processor the latter is an estimate: "
        "two runs of the same weights can show two peaks.",
        ("by part",),
        _draw_memory, _tabulate_memory, lambda comparison: any(run.load for run in comparison.runs),
    ),
    Chart(
        "time", "Speed", "Until the first token, between tokens, and tokens per second.", ("latency",),
        _draw_time, _tabulate_time, lambda comparison: any(run.timing for run in comparison.runs),
    ),
    Chart(
        "difference", "Difference", "How far each lies from the reference when it reads the reference’s answer.",
        ("summary",), _draw_difference, _tabulate_difference, _compared,
    ),
    Chart(
        "tokens", "Token by token",
        "All read the reference’s answer. Dots: a different likeliest token; squares: the first difference in writing.",
        ("divergence", "probability"), _draw_tokens, _tabulate_tokens, _compared,
    ),
)  # fmt: skip


def tabs(charts: Sequence[Titled]) -> str:
    """The switch from chart to chart. Nothing fills it again, so that the choice outlives a run; style.css obeys it."""
    return _HTML.tabs(charts)


def head(chart: Titled) -> str:
    """The panel's heading with the switch between chart and table, which works without the server."""
    return _HTML.head(chart)


def twins(found: "tuple[Table, ...] | None") -> str:
    """Table twins as HTML, their notes before them; a plain remark where they could not be made."""
    if found is None:
        return _PIECES.faint("This table could not be made. The log says why.")
    notes = [_HTML.note(table.note) for table in found if table.note]
    made = _PIECES.joined([*notes, *map(_table, found)])
    return made or _PIECES.faint("There is nothing to compare: one precision ran.")


def _table(found: "Table") -> str:
    heads = [(_kind([row[place] for row in found.rows]), name) for place, name in enumerate(found.columns)]
    rows = [(row[0], [(_kind([cell]), cell) for cell in row[1:]]) for row in found.rows]
    return _HTML.table(found.caption, heads, rows)


def _kind(cells: Sequence[str]) -> str:
    """Figures stand to the right, words to the left."""
    return (
        "num" if cells and all(text[:1].isdigit() or text[:1] in ("-", "−", "<", ">", "") for text in cells) else "word"
    )
