"""A chart's components on the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

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
