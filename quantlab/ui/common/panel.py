"""A chart's components on the page."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from quantlab.reporting.charts.registry import Chart
from quantlab.ui.common import panels


@dataclass(frozen=True)
class Panel:
    """A chart's figures with their table twin and head, the column that holds them, and the choice it may need."""

    column: gr.Column
    plots: tuple[gr.Plot, ...]
    table: gr.HTML
    head: gr.HTML
    pick: gr.Dropdown | None = None

    def filled(self, figures: Sequence[Any], tables: Any) -> dict[Any, Any]:
        """The updates that show figures and their tables."""
        return dict(zip(self.plots, figures, strict=True)) | {self.table: panels.twins(tables)}

    def listed(self) -> list[Any]:
        return [self.column, *self.plots, self.table, *([self.pick] if self.pick else [])]


def build_panel(chart: Chart, *, before_ids: str = "", visible: bool = True) -> Panel:
    """A chart's components, inside the current column; `before_ids` goes before its name in the ids."""
    chart = replace(chart, key=f"{before_ids}{chart.key}")
    labels = [": ".join(filter(None, (chart.title, part))) for part in chart.parts]
    return panel_of(chart, labels, pick=chart.pick, visible=visible)


def panel_of(
    named: Chart | panels.Named,
    labels: Sequence[str],
    *,
    pick: str | None = None,
    visible: bool = True,
    row: str | None = None,
) -> Panel:
    """The same for figures that are no charts of the registry: one for each of `labels`, which say what it shows.

    They stand below each other, or in a row of the class `row`. `pick` labels the choice above them, if there is one.
    """
    with gr.Column(visible=visible, elem_id=f"panel-{named.key}", min_width=280) as column:
        head = gr.HTML(panels.head(named), apply_default_css=False)
        choice = gr.Dropdown([], label=pick, elem_classes="pick-one", min_width=120) if pick else None
        with gr.Row(elem_classes=row) if row else nullcontext():
            plots = tuple(map(_plot, labels))
        table = gr.HTML("", elem_classes="as-table", apply_default_css=False)
    return Panel(column, plots, table, head, choice)


def _plot(label: str) -> gr.Plot:
    return gr.Plot(label=label, show_label=False, container=False, elem_classes="as-chart", min_width=240)
