"""The components of the tab, for those who fill them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.ui.common.adding import Adding
from quantlab.ui.common.card import MyCard
from quantlab.ui.common.panel import Panel
from quantlab.ui.quality.inputs import QualityInputs


@dataclass(frozen=True)
class QualityParts:
    """Every component that a handler fills. `quality` keeps the figures, so that nothing is measured twice."""

    inputs: QualityInputs
    offered: gr.State
    my_card: MyCard
    adding: Adding
    dropped: gr.File
    taken: gr.State
    about: gr.HTML
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    progress: gr.HTML
    problem: gr.HTML
    quality: gr.State
    empty: gr.HTML
    table: gr.HTML
    advised: gr.Column
    bound: gr.Number
    memory: gr.Number
    advice: gr.HTML
    ask: gr.Button
    charts: gr.Column
    panels: tuple[Panel, ...]

    def results(self) -> list[Any]:
        """What a run fills, from the buttons to the charts."""
        head = [self.start, self.stop, self.status, self.progress, self.problem, self.quality, self.empty, self.table]
        return [*head, self.advised, self.charts, *(part for panel in self.panels for part in panel.listed())]
