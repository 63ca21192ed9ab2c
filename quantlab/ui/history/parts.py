"""The components of the tab, for those who fill them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.records import Comparison, Quality
from quantlab.reporting.charts.registry import COMPARISON, Chart
from quantlab.ui.common.panel import Panel
from quantlab.ui.history.entry_list import EntryList


@dataclass(frozen=True)
class HistoryPanel(Panel):
    """A panel and the chart that it shows, of a record of that `kind`."""

    kind: type[Comparison] | type[Quality] = Comparison
    chart: Chart = COMPARISON[0]


@dataclass(frozen=True)
class HistoryParts:
    """Every component that a handler fills. `opened` keeps what is open, which in public is nowhere else."""

    search: gr.Textbox
    kind: gr.Radio
    upload: gr.UploadButton
    status: gr.HTML
    problem: gr.HTML
    entries: EntryList
    opened: gr.State
    shown: gr.Column
    head: gr.HTML
    resume: gr.Button
    stop: gr.Button
    formats: tuple[gr.Button, ...]
    file: gr.DownloadButton
    link: gr.Button
    delete: gr.Button
    sure: gr.Row
    delete_now: gr.Button
    keep: gr.Button
    beside: gr.Row
    other: gr.Dropdown
    set_beside: gr.Button
    together: gr.HTML
    results: gr.HTML
    charts: gr.Column
    panels: tuple[HistoryPanel, ...]

    def view(self) -> list[Any]:
        """What opening an entry fills, but for the charts, which take longer."""
        head = [self.status, self.problem, self.entries, self.opened, self.shown, self.head, self.resume, self.stop]
        more = [self.link, self.delete, self.sure, self.beside, self.other, self.together, self.results, self.charts]
        return [*head, *self.formats, *more]

    def drawn(self) -> list[Any]:
        return [self.charts, *(part for panel in self.panels for part in panel.listed())]
