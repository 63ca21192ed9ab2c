"""What a report shows, in its order: a chart each with its table twin. A new chart is one line in a table here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from quantlab.records import Comparison, Quality
from quantlab.reporting.charts import (
    confidence,
    difference,
    difference_table,
    flips,
    kld_spread,
    latency,
    layers,
    memory,
    quality_map,
)
from quantlab.reporting.charts.inline import figure_json
from quantlab.reporting.charts.table import Table


@dataclass(frozen=True)
class Chart:
    """`figure` and `table` take the record, and, where `each` gives names, one of them; `folded`: the table is long."""

    title: str
    figure: Callable[..., Any] | None
    table: Callable[..., Table] | None
    each: Callable[[Any], Iterable[str]] | None = None
    folded: bool = False


def _read_tokens(comparison: Comparison) -> list[str]:
    return [run.precision for run in difference.compared(comparison)]


def _with_layers(quality: Quality) -> list[str]:
    return [run.precision for run in quality.runs if run.layers]


COMPARISON_CHARTS = (
    Chart("Memory", memory.figure, memory.table),
    Chart("Latency", latency.figure, latency.table),
    Chart("Difference, token by token", difference.figure, difference_table.table),
    Chart("Difference, mean", difference.summary, None),
    Chart("Probabilities of the reference’s tokens", difference.probabilities, None),
    Chart("Tokens", None, difference_table.token_table, _read_tokens, folded=True),
)
QUALITY_CHARTS = (
    Chart("Quality against memory and speed", quality_map.figure, quality_map.table),
    Chart("Divergence over the tokens", kld_spread.figure, kld_spread.table),
    Chart("Divergence by the reference’s confidence", confidence.figure, confidence.table),
    Chart("Task", flips.figure, None, lambda quality: quality.tasks),
    Chart("Tasks", None, flips.table),
    Chart("Error by layer", layers.figure, layers.table, _with_layers, folded=True),
)


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
    found = []
    for chart in COMPARISON_CHARTS if isinstance(record, Comparison) else QUALITY_CHARTS:
        if chart.each is None:
            found.append(_section(chart, chart.title, record))
        else:
            found += [_section(chart, f"{chart.title}: {name}", record, name) for name in chart.each(record)]
    return [section for section in found if section.figure or (section.table and section.table.rows)]


def _section(chart: Chart, title: str, *arguments: object) -> Section:
    table = chart.table(*arguments) if chart.table else None
    figure = figure_json(chart.figure(*arguments)) if chart.figure else None
    if table is None:
        return Section(title, figure, None, (), chart.folded)
    return Section.of(title, table, figure, chart.folded)


def tabled(chart: Chart, record: Comparison | Quality) -> Section | None:
    """The chart's table alone, where it has one of the whole record with anything in it."""
    if chart.table is None or chart.each is not None:
        return None
    table = chart.table(record)
    return Section.of(chart.title, table) if table.rows else None


def numeric(table: Table) -> tuple[bool, ...]:
    """Which columns hold numbers: they are set to the right. A cell without a figure is a dash."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return tuple(any(map(_is_number, cells)) and all(map(_is_number, cells)) for cells in columns)


def _is_number(cell: str) -> bool:
    return cell.lstrip("-−<>≈∞ ")[:1].isdigit() or cell in ("-", "")
