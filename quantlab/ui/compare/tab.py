"""The first tab: its components and how they are wired. What they do is in handlers.py."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from quantlab.reporting.charts.registry import COMPARISON
from quantlab.settings import AppSettings
from quantlab.ui import scripts
from quantlab.ui.common import fragments, models, panels, rail
from quantlab.ui.common.exports import FORMATS
from quantlab.ui.common.panel import build_panel
from quantlab.ui.common.tab import SMALL, TAKES_TURNS
from quantlab.ui.compare import check, inputs, save
from quantlab.ui.compare.form import Choice
from quantlab.ui.compare.handlers import Handlers
from quantlab.ui.compare.inputs import Inputs
from quantlab.ui.compare.parts import Parts
from quantlab.ui.compare.save import SaveHandlers, SavePanel
from quantlab.ui.services import Services


def build(opening: rail.Opening, app: AppSettings, services: Services) -> Handlers:
    """Make the tab inside the current Blocks, wired."""
    examples_of = models.examples(opening.model, opening.known)
    start = Choice(opening.model, prompt=examples_of[0][1])
    with gr.Row(elem_id="bench"):
        with gr.Column(min_width=280, elem_id="rail", elem_classes="rail"):
            left = rail.build(opening, app)
            settings, race_warning = inputs.settings_inputs(start, left.found, app)
            saving = None if app.public else save.build()
            checking = None if app.public else check.build()
        with gr.Column(min_width=280, elem_id="stage"):
            prompt, examples, *said = _ask(start, tuple(label for label, _ in examples_of))
            results = _results(app)
    compare, stop, copy, status, problem = said
    chosen = Inputs(left.model, left.precisions, prompt, *settings)
    link = gr.Textbox(visible="hidden", label="link")
    rows = (left.offered, left.my_card, left.adding, left.dropped, left.about)
    parts = Parts(chosen, *rows, examples, compare, stop, status, problem, race_warning, link, *results)
    handlers = Handlers(parts, app, services)
    _wire(parts, copy, handlers)
    described = rail.wire(parts, handlers, chosen.prompt, [*parts.examples, chosen.prompt])
    others = [component for component in chosen.listed() if component not in described]
    restored = gr.context.Context.root_block.load(
        handlers.restore, left.my_card.kept, [*others, *described, *left.my_card.listed()], **SMALL
    )  # fmt: skip
    restored.then(None, None, None, js=scripts.SHOW_PROBLEM)
    if checking is not None:
        check.wire(checking, chosen.model, app, services)
    if saving is not None:
        _wire_saving(saving, chosen, SaveHandlers(saving, app, services))
    return handlers


def _ask(start: Choice, labels: Sequence[str]) -> tuple[Any, ...]:
    """The prompt, what is done with it, and under that what is said of it: nobody has to look elsewhere for either."""
    prompt = inputs.prompt_input(start)
    with gr.Row(elem_id="actions", elem_classes="actions"):
        compare = gr.Button("Compare", variant="primary", elem_id="compare", scale=0, min_width=150)
        stop = gr.Button("Stop", elem_id="stop", interactive=False, scale=0, min_width=70)
        copy = gr.Button("Copy link", elem_id="copy-link", scale=0, min_width=90)
        examples = inputs.example_buttons(labels)
    status = gr.HTML(fragments.said(""), elem_id="status", apply_default_css=False)
    problem = gr.HTML("", elem_id="problem", apply_default_css=False)
    return prompt, examples, compare, stop, copy, status, problem


def _results(app: AppSettings) -> tuple[Any, ...]:
    empty = gr.HTML(fragments.EMPTY, elem_id="empty", apply_default_css=False)
    verdict = gr.HTML("", elem_id="verdict", apply_default_css=False)
    with gr.Row(elem_id="marks"):
        tokens = gr.HTML("", elem_id="prompt-tokens", apply_default_css=False)
        legend = gr.HTML("", elem_id="legend", apply_default_css=False)
    with gr.Row(elem_id="columns"):
        columns = tuple(
            # Always there: an empty one takes no room, and one that were mounted while it streams would miss updates.
            gr.HTML("", elem_classes="column", apply_default_css=False)
            for _ in range(app.max_columns)
        )
    formats, copy, file, *code = _after()
    with gr.Column(visible=False, elem_id="charts") as charts:
        made = tuple(map(build_panel, COMPARISON))
    saving = (gr.State(None), formats, copy, *code, file)
    return empty, verdict, tokens, legend, columns, *saving, charts, made


def _after():
    """Between the answers and the charts: which chart is shown, and what takes the results along."""
    with gr.Row(elem_id="after"):
        gr.HTML(panels.tabs(COMPARISON), elem_id="chart-tabs", apply_default_css=False)
        measure = gr.Button("Measure quality of these", size="sm", min_width=120, scale=0, elem_id="to-quality")
        with gr.Row(elem_id="save-results"):
            gr.HTML('<span class="faint">Download</span>', apply_default_css=False)
            formats = tuple(
                gr.Button(it.title, size="sm", min_width=56, scale=0, elem_id=f"result-{it.ending}") for it in FORMATS
            )
            copy = gr.Button("Link", size="sm", min_width=56, scale=0, elem_id="result-link")
            copy_code = gr.Button("Copy the code", size="sm", min_width=56, scale=0, elem_id="result-code")
    code = gr.Textbox(visible="hidden", label="code")
    code_shown = gr.HTML("", elem_id="code-shown", apply_default_css=False)
    file = gr.DownloadButton(visible="hidden", elem_id="result-file", elem_classes="for-scripts")
    measure.click(None, None, None, js=scripts.to_tab("Quality"))
    return formats, copy, file, copy_code, code, code_shown


def _wire(parts: Parts, copy: gr.Button, handlers: Handlers) -> None:
    inputs = parts.inputs.listed()
    begun = gr.on(
        [parts.start.click, parts.inputs.prompt.submit],
        handlers.begin,
        inputs,
        [*parts.results(), parts.link],
        **SMALL,
    )
    begun.then(None, parts.link, js=scripts.SHOW_LINK)
    begun.then(None, None, js=scripts.ASKED)
    begun.then(
        handlers.run, inputs, parts.results(), show_progress="hidden", api_name="compare",
        api_visibility="private", trigger_mode="multiple", **TAKES_TURNS,
    )  # fmt: skip
    parts.stop.click(handlers.stop, None, parts.results(), **SMALL)
    copied = gr.on([copy.click, parts.copy_result.click], handlers.link, inputs, [parts.link, parts.status], **SMALL)
    copied.then(None, parts.link, js=scripts.COPY_LINK)
    written = parts.copy_code.click(
        handlers.code,
        [parts.comparison, parts.inputs.precisions],
        [parts.code, parts.code_shown, parts.status],
        **SMALL,
    )
    written.then(None, parts.code, js=scripts.COPY_CODE)
    for index, button in enumerate(parts.formats):
        made = button.click(
            handlers.export(index), parts.comparison, [parts.file, parts.problem, parts.status], **SMALL
        )
        made.then(None, parts.file, js=scripts.DOWNLOAD)
    for index, button in enumerate(parts.examples):
        button.click(handlers.example(index), parts.inputs.model, parts.inputs.prompt, **SMALL)
    parts.inputs.race.change(handlers.race, parts.inputs.race, parts.race_warning, **SMALL)
    gr.context.Context.root_block.unload(handlers.leave)


def _wire_saving(panel: SavePanel, chosen: Inputs, handlers: SaveHandlers) -> None:
    shown = [panel.save, panel.stop, panel.result]
    begun = panel.save.click(handlers.begin, None, shown, **SMALL)
    begun.then(
        handlers.save,
        [panel.precision, panel.out, *chosen.listed()],
        shown,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="multiple",
        **TAKES_TURNS,
    )
    panel.stop.click(handlers.stop, None, shown, **SMALL)
    gr.context.Context.root_block.unload(handlers.leave)
