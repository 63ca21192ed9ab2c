"""Around a chart: the switch from chart to chart, the heading, and the accessible table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
    """The names of a panel that is none of `reporting.charts.registry`; see `Titled`."""

    key: str
    title: str
    caption: str


_HTML, _PIECES = Pieces("ui/common/panels.html"), Pieces("ui/common/pieces.html")


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
