"""A chart's components on the page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from quantlab.reporting.charts.registry import Chart
from quantlab.ui.common import panels


@dataclass(frozen=True)
class Panel:
    """A chart's figures with their table twin, the column that holds them, and the choice that it may need."""

    column: gr.Column
    plots: tuple[gr.Plot, ...]
    table: gr.HTML
    pick: gr.Dropdown | None = None

    def filled(self, figures: Sequence[Any], tables: Any) -> dict[Any, Any]:
        """The updates that show figures and their tables."""
        return dict(zip(self.plots, figures, strict=True)) | {self.table: panels.twins(tables)}

    def listed(self) -> list[Any]:
        return [self.column, *self.plots, self.table, *([self.pick] if self.pick else [])]


def build_panel(chart: Chart, *, before_ids: str = "", visible: bool = True) -> Panel:
    """A chart's components, inside the current column; `before_ids` goes before its name in the ids."""
    chart = replace(chart, key=f"{before_ids}{chart.key}")
    with gr.Column(visible=visible, elem_id=f"panel-{chart.key}", min_width=280) as column:
        gr.HTML(panels.head(chart), apply_default_css=False)
        pick = gr.Dropdown([], label=chart.pick, elem_classes="pick-one", min_width=120) if chart.pick else None
        plots = tuple(
            gr.Plot(
                label=": ".join(filter(None, (chart.title, part))), show_label=False, container=False,
                elem_classes="as-chart",
            )
            for part in chart.parts
        )  # fmt: skip
        table = gr.HTML("", elem_classes="as-table", apply_default_css=False)
    return Panel(column, plots, table, pick)
