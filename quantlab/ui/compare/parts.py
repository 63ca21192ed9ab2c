"""The components of the tab, for those who fill them."""

from dataclasses import dataclass

import gradio as gr

from quantlab.ui.common.adding import Adding
from quantlab.ui.common.card import MyCard
from quantlab.ui.common.panel import Panel
from quantlab.ui.compare.inputs import Inputs


@dataclass(frozen=True)
class Parts:
    """Every component that a handler fills. `comparison` keeps the results, for those who take them along."""

    inputs: Inputs
    offered: gr.State
    my_card: MyCard
    adding: Adding
    dropped: gr.File
    about: gr.HTML
    examples: tuple[gr.Button, ...]
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    problem: gr.HTML
    race_warning: gr.HTML
    link: gr.Textbox
    empty: gr.HTML
    verdict: gr.HTML
    tokens: gr.HTML
    legend: gr.HTML
    columns: tuple[gr.HTML, ...]
    comparison: gr.State
    formats: tuple[gr.Button, ...]
    copy_result: gr.Button
    copy_code: gr.Button
    code: gr.Textbox
    code_shown: gr.HTML
    file: gr.DownloadButton
    charts: gr.Column
    panels: tuple[Panel, ...]

    def results(self) -> list[gr.components.Component | gr.Column]:
        """What a run fills, from the buttons to the charts."""
        drawn = [component for panel in self.panels for component in panel.listed()]
        head = [self.start, self.stop, self.status, self.problem, self.empty]
        head += [self.verdict, self.tokens, self.legend]
        return [*head, *self.columns, self.comparison, self.code_shown, self.charts, *drawn]
