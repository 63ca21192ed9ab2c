"""The tab of what is kept: a list, one entry opened, another beside it. What it does is in handlers.py."""

from typing import Any

import gradio as gr

from quantlab.records import Comparison, Quality
from quantlab.reporting.charts.registry import COMPARISON, QUALITY, Chart
from quantlab.settings import AppSettings
from quantlab.ui import scripts
from quantlab.ui.common.exports import FORMATS
from quantlab.ui.common.fragments import said
from quantlab.ui.common.panel import build_panel
from quantlab.ui.common.tab import LAST, SMALL, TAKES_TURNS
from quantlab.ui.history import fragments as html
from quantlab.ui.history.entry_list import entry_list
from quantlab.ui.history.handlers import HistoryHandlers
from quantlab.ui.history.parts import HistoryPanel, HistoryParts
from quantlab.ui.services import Services

#: The kinds to choose from; the value is the history's own name, empty for all.
KINDS = (("Everything", ""), ("Comparisons", "comparison"), ("Quality runs", "quality"))


def build(app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired."""
    tab = gr.context.Context.block
    kept = app.history_file is not None
    with gr.Row(elem_id="kept-find", elem_classes="choose-card"):
        search = gr.Textbox(
            label="Search", placeholder="Words of the prompt, a model, a precision", max_lines=1, max_length=300,
            scale=4, min_width=200, visible=kept, elem_id="kept-search",
        )  # fmt: skip
        kind = gr.Radio(list(KINDS), value="", label="Kind", scale=3, min_width=260, visible=kept, elem_id="kept-kind")
        if not kept:
            gr.HTML(html.NOTHING_KEPT, elem_id="kept-public", apply_default_css=False)
        upload = gr.UploadButton("Open a file …", scale=1, min_width=130, elem_id="kept-upload")
    if kept:
        gr.HTML(html.WHOSE, elem_id="kept-whose", apply_default_css=False)
    problem = gr.HTML("", elem_id="kept-problem", apply_default_css=False)
    entries = entry_list()
    status = gr.HTML(said(""), elem_id="kept-status", apply_default_css=False)
    top = (search, kind, upload, status, problem, entries, gr.State(None))
    with gr.Column(visible=False, elem_id="kept-shown") as shown:
        opened = _opened()
        with gr.Column(visible=False, elem_id="kept-charts") as charts:
            made = [_panel(Comparison, chart) for chart in COMPARISON] + [_panel(Quality, chart) for chart in QUALITY]
    parts = HistoryParts(*top, shown=shown, **opened, charts=charts, panels=tuple(made))
    _wire(parts, HistoryHandlers(parts, app, services), tab)


def _opened() -> dict[str, Any]:
    """What stands over the charts, by its names in `HistoryParts`."""
    head = gr.HTML("", elem_id="kept-about", apply_default_css=False)
    with gr.Row(elem_id="kept-actions"):
        resume = gr.Button("Resume", variant="primary", visible=False, min_width=90, scale=0, elem_id="kept-resume")
        stop = gr.Button("Stop", visible=False, min_width=70, scale=0, elem_id="kept-stop")
        formats = tuple(
            gr.Button(it.title, min_width=70, scale=0, elem_id=f"kept-{it.ending}", elem_classes="kept-format")
            for it in FORMATS
        )
        link = gr.Button("Link", min_width=70, scale=0, elem_id="kept-link")
        delete = gr.Button("Delete", min_width=80, scale=0, elem_id="kept-delete")
    file = gr.DownloadButton(visible="hidden", elem_id="kept-file")
    with gr.Row(visible=False, elem_id="kept-confirm") as sure:
        gr.HTML(html.CONFIRM, apply_default_css=False)
        delete_now = gr.Button("Delete for good", variant="stop", min_width=120, scale=0, elem_id="kept-delete-now")
        keep = gr.Button("Keep it", min_width=80, scale=0, elem_id="kept-keep")
    with gr.Row(visible=False, elem_id="kept-set-beside") as beside:
        other = gr.Dropdown([], label="Compare with another run", scale=4, min_width=220, elem_id="kept-other")
        set_beside = gr.Button("Set beside", scale=0, min_width=110, elem_id="kept-beside")
    together = gr.HTML("", elem_id="kept-together", apply_default_css=False)
    results = gr.HTML("", elem_id="kept-results", apply_default_css=False)
    return {
        **{
            "head": head,
            "resume": resume,
            "stop": stop,
            "formats": formats,
            "file": file,
            "link": link,
            "delete": delete,
        },
        **{"sure": sure, "delete_now": delete_now, "keep": keep, "beside": beside, "other": other},
        **{"set_beside": set_beside, "together": together, "results": results},
    }


def _panel(kind: type[Comparison] | type[Quality], chart: Chart) -> HistoryPanel:
    made = build_panel(chart, before_ids="kept-", visible=False)  # the other tabs have panels of the same charts
    return HistoryPanel(**vars(made), kind=kind, chart=chart)


def _wire(parts: HistoryParts, handlers: HistoryHandlers, tab: gr.Tab) -> None:
    finding = [parts.search, parts.kind, parts.opened]
    root = gr.context.Context.root_block
    gr.on([tab.select, parts.kind.input, root.load], handlers.find, finding[:2], parts.entries, **SMALL, **LAST)
    parts.search.change(handlers.find, finding[:2], parts.entries, **SMALL, **LAST)

    def then_charts(event: Any) -> None:
        event.then(handlers.draw, parts.opened, parts.drawn(), show_progress="hidden", api_visibility="private")

    opened = parts.entries.input(handlers.open, [parts.entries, *finding], parts.view(), **SMALL, **LAST)
    opened.then(None, None, None, js=scripts.SHOW_OPENED)
    root.load(None, None, None, js=scripts.SHOW_ENTRY)
    parts.link.click(None, None, None, js=scripts.COPY_ADDRESS)
    parts.link.click(handlers.copied, None, parts.status, **SMALL)
    then_charts(opened)
    then_charts(
        parts.upload.upload(handlers.read, [parts.upload, *finding], [*parts.view(), parts.upload], **SMALL)
    )  # fmt: skip
    parts.delete.click(handlers.ask, None, [parts.sure], **SMALL)
    parts.keep.click(handlers.keep, None, [parts.sure], **SMALL)
    parts.delete_now.click(handlers.delete, finding, parts.view(), **SMALL)
    parts.set_beside.click(handlers.beside, [parts.opened, parts.other], [parts.together, parts.problem], **SMALL)
    for index, button in enumerate(parts.formats):
        made = button.click(handlers.export(index), parts.opened, [parts.file, parts.problem, parts.status], **SMALL)
        made.then(None, parts.file, js=scripts.DOWNLOAD)
    begun = parts.resume.click(handlers.begin, None, [parts.resume, parts.stop, parts.status, parts.problem], **SMALL)
    resumed = begun.then(
        handlers.resume, finding, parts.view(), show_progress="hidden", api_visibility="private",
        trigger_mode="multiple", **TAKES_TURNS,
    )  # fmt: skip
    then_charts(resumed)
    parts.stop.click(handlers.stop, None, [parts.resume, parts.stop, parts.status], **SMALL)
    for index, panel in enumerate(parts.panels):
        if panel.pick is not None:
            drawn = [*panel.plots, panel.table]
            panel.pick.input(handlers.pick(index), [parts.opened, panel.pick], drawn, **SMALL, **LAST)
    root.unload(handlers.leave)
