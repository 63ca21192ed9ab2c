"""The second tab: how far each precision lies from the reference. What it does is in handlers.py."""

from typing import Any

import gradio as gr

from quantlab.fidelity import texts
from quantlab.reporting.advice import KLD_BOUND
from quantlab.reporting.charts.registry import QUALITY
from quantlab.settings import AppSettings
from quantlab.ui import scripts
from quantlab.ui.common import rail
from quantlab.ui.common.explained import exactly, info
from quantlab.ui.common.fragments import said
from quantlab.ui.common.panel import build_panel
from quantlab.ui.common.tab import LAST, SMALL, TAKES_TURNS
from quantlab.ui.quality import fragments as html
from quantlab.ui.quality import inputs as quality_inputs
from quantlab.ui.quality.form import QualityChoice, Taken
from quantlab.ui.quality.handlers import QualityHandlers
from quantlab.ui.quality.inputs import QualityInputs
from quantlab.ui.quality.parts import QualityParts
from quantlab.ui.services import Services


def build(opening: rail.Opening, app: AppSettings, services: Services) -> QualityHandlers:
    """Make the tab inside the current Blocks, wired. Models with random weights are left out: they have no quality."""
    start = QualityChoice(opening.model, source=texts.suiting(opening.model, app))
    with gr.Row(elem_id="quality-bench"):
        with gr.Column(min_width=280, elem_id="quality-rail", elem_classes="rail"):
            left = rail.build(opening, app, before_ids="quality-", random_weights=False)
            with gr.Accordion("Settings", open=False, elem_id="quality-settings"):
                comparing = rail.comparing(left.found, "quality-")
                gr.HTML(exactly("reference", "compute_dtype"), apply_default_css=False)
        with gr.Column(min_width=280, elem_id="quality-stage"):
            reading, answering, *said = _ask(start, app, services)
            results = _results()
    measure, stop, status, problem, progress = said
    chosen = (left.model, left.precisions, *reading, *answering, *comparing)
    inputs = QualityInputs(*chosen)
    taken = gr.State(Taken(start.model, left.ticked, (), start.compute_dtype))
    head = (
        inputs,
        left.offered,
        left.my_card,
        left.adding,
        left.dropped,
        taken,
        left.about,
        measure,
        stop,
        status,
        progress,
        problem,
    )
    parts = QualityParts(*head, gr.State(None), *results)
    handlers = QualityHandlers(parts, app, services)
    _wire(parts, handlers)
    rail.wire(parts, handlers, inputs.source, [inputs.source, inputs.tasks])
    return handlers


def _ask(start: QualityChoice, app: AppSettings, services: Services) -> tuple[Any, ...]:
    """What is read and answered, the buttons, and under them what is said of it: nobody has to look elsewhere."""
    with gr.Column(elem_id="quality-ask", elem_classes="choose-card"):
        reading = quality_inputs.text_inputs(start, app)
        answering = quality_inputs.task_inputs(start, app, services)
        gr.HTML(exactly("windows", "noise_floor", "layers", "more_tasks"), apply_default_css=False)
    with gr.Row(elem_id="quality-actions", elem_classes="actions"):
        measure = gr.Button("Measure", variant="primary", elem_id="measure", scale=0, min_width=150)
        stop = gr.Button("Stop", elem_id="quality-stop", interactive=False, scale=0, min_width=70)
        with gr.Column(min_width=240, elem_id="quality-said"):
            status = gr.HTML(said(""), elem_id="quality-status", apply_default_css=False)
            progress = gr.HTML("", elem_id="quality-progress", apply_default_css=False)
    problem = gr.HTML("", elem_id="quality-problem", apply_default_css=False)
    return reading, answering, measure, stop, status, problem, progress


def _results() -> tuple[Any, ...]:
    empty = gr.HTML(html.EMPTY, elem_id="quality-empty", apply_default_css=False)
    table = gr.HTML("", elem_id="quality-table", apply_default_css=False)
    with gr.Column(visible=False, elem_id="quality-advised") as advised:
        gr.HTML("<h3>Which one to take</h3>", apply_default_css=False)
        with gr.Row(elem_id="quality-limits"):
            bound = gr.Number(
                KLD_BOUND, label="Largest distance (KLD bound)", info=info("bound"), step=0.01,
                elem_id="quality-bound",
            )  # fmt: skip
            memory = gr.Number(0, label="Memory limit, MB", info=info("memory"), elem_id="quality-memory")
        gr.HTML(exactly("bound", "memory"), apply_default_css=False)
        advice = gr.HTML("", elem_id="quality-advice", apply_default_css=False)
        ask = gr.Button("Ask these", size="sm", min_width=100, scale=0, elem_id="ask-these")
    with gr.Column(visible=False, elem_id="quality-charts") as charts:
        made = tuple(map(build_panel, QUALITY))
    return empty, table, advised, bound, memory, advice, ask, charts, made


def _wire(parts: QualityParts, handlers: QualityHandlers) -> None:
    inputs = parts.inputs.listed()
    limits = [parts.quality, parts.bound, parts.memory]
    begun = parts.start.click(handlers.begin, inputs, parts.results(), **SMALL)
    begun.then(None, None, js=scripts.ASKED)
    run = begun.then(
        handlers.run, inputs, parts.results(), show_progress="hidden", api_name="quality",
        api_visibility="private", trigger_mode="multiple", **TAKES_TURNS,
    )  # fmt: skip
    run.then(handlers.advise, limits, parts.advice, **SMALL, **LAST)
    parts.stop.click(handlers.stop, None, parts.results(), **SMALL)
    gr.on([parts.bound.input, parts.memory.input], handlers.advise, limits, parts.advice, **SMALL, **LAST)
    shown = [parts.inputs.source, parts.inputs.pasted, parts.inputs.file]
    parts.inputs.source.input(handlers.source, parts.inputs.source, shown, **SMALL, **LAST)
    for index, panel in enumerate(parts.panels):
        if panel.pick is not None:
            panel.pick.input(
                handlers.pick(index), [parts.quality, panel.pick], [*panel.plots, panel.table], **SMALL, **LAST
            )
    gr.context.Context.root_block.unload(handlers.leave)
