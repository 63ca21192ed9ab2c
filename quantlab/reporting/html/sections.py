"""What a report shows, in its order: each chart of the record with its table twin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quantlab.records import Comparison, Quality
from quantlab.reporting.charts.inline import figure_json
from quantlab.reporting.charts.registry import Chart, charts_of
from quantlab.reporting.charts.table import Table


@dataclass(frozen=True)
class Section:
    """`figure` is the chart as JSON for a script element."""

    title: str
    figure: str | None
    table: Table | None
    numeric: tuple[bool, ...]
    folded: bool

    @classmethod
    def of(cls, title: str, table: Table, figure: str | None = None, folded: bool = False) -> "Section":
        """A table under a title, its columns of numbers found."""
        return cls(title, figure, table, numeric(table), folded)


def sections(record: Comparison | Quality) -> list[Section]:
    """The charts and tables of a record, those of each precision or task one after the other; no empty table alone."""
    found = [_section(chart, *parts) for chart in charts_of(record) for parts in _parts(chart, record)]
    return [section for section in found if section.figure or (section.table and section.table.rows)]


def _parts(chart: Chart, record: Comparison | Quality) -> Iterator[tuple[str, Any, Table | None]]:
    """What stands under each title of a chart: a figure, a table, or both."""
    names = [(f"{chart.title}: {name}", name) for name in chart.each(record)]
    if chart.drawn_each:
        for title, name in names:
            yield title, *chart.figures(record, name), chart.table(record, name) if chart.tabled_each else None
    else:
        for place, (part, figure) in enumerate(zip(chart.parts, chart.figures(record), strict=True)):
            title = chart.title if len(chart.parts) == 1 else f"{chart.title}: {part}"
            yield title, figure, None if place or chart.tabled_each else chart.table(record)
    if chart.drawn_each and not chart.tabled_each:
        yield chart.title, None, chart.table(record)
    if chart.tabled_each and not chart.drawn_each:
        for title, name in names:
            yield title, None, chart.table(record, name)


def _section(chart: Chart, title: str, figure: Any, table: Table | None) -> Section:
    drawn = figure_json(figure) if figure is not None else None
    if table is None:
        return Section(title, drawn, None, (), chart.folded)
    return Section.of(title, table, drawn, chart.folded)


def tabled(chart: Chart, record: Comparison | Quality) -> Section | None:
    """The chart's table alone, where it has one of the whole record with anything in it."""
    if chart.tabled_each:
        return None
    table = chart.table(record)
    return Section.of(chart.title, table) if table.rows else None


def numeric(table: Table) -> tuple[bool, ...]:
    """Which columns hold numbers: they are set to the right. A cell without a figure is a dash."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return tuple(any(map(_is_number, cells)) and all(map(_is_number, cells)) for cells in columns)


def _is_number(cell: str) -> bool:
    return cell.lstrip("-−<>≈∞ ")[:1].isdigit() or cell in ("-", "")
