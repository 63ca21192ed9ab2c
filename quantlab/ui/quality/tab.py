"""The second tab: how far each precision lies from the reference. What it does is in quality_handlers.py."""

from typing import Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.fidelity import texts
from quantlab.records import Estimate, Placement
from quantlab.reporting.advice import KLD_BOUND
from quantlab.settings import AppSettings
from quantlab.ui.common import models, panels, precision_list
from quantlab.ui.common.fragments import said
from quantlab.ui.common.panel import Panel
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.tab import DEVICE_QUEUE, SMALL, wire_stop
from quantlab.ui.quality import fragments as html
from quantlab.ui.quality import inputs as quality_inputs
from quantlab.ui.quality.form import QualityChoice, Taken
from quantlab.ui.quality.handlers import QualityHandlers
from quantlab.ui.quality.inputs import QualityInputs
from quantlab.ui.quality.panels import CHARTS, QualityChart
from quantlab.ui.quality.parts import QualityParts
from quantlab.ui.services import Services


def build(app: AppSettings, services: Services) -> QualityHandlers:
    """Make the tab inside the current Blocks, wired."""
    first = models.start_model(services.choices())
    start = QualityChoice(first, source=texts.suiting(first, app))
    found = PrecisionList(_first_offers(start, app, services))
    ticked = precision_list.ticks(found, start.precisions, app.max_columns)
    with gr.Row(elem_id="quality-choose", elem_classes="choose"):
        with gr.Column(scale=6, min_width=300, elem_classes="choose-card"):
            model, about, precisions, adding = quality_inputs.model_inputs(start, found, app, services)
        with gr.Column(scale=6, min_width=300, elem_classes="choose-card"):
            reading = quality_inputs.text_inputs(start, app)
            answering = quality_inputs.task_inputs(start, app, services)
            comparing = quality_inputs.comparing_inputs(start, found)
            with gr.Row(elem_id="quality-actions"):
                measure = gr.Button("Measure", variant="primary", elem_id="measure", scale=3, min_width=110)
                stop = gr.Button("Stop", elem_id="quality-stop", interactive=False, scale=1, min_width=70)
            status = gr.HTML(said(""), elem_id="quality-status", apply_default_css=False)
            problem = gr.HTML("", elem_id="quality-problem", apply_default_css=False)
            progress = gr.HTML("", elem_id="quality-progress", apply_default_css=False)
    inputs = QualityInputs(model, precisions, *reading, *answering, *comparing)
    taken = gr.State(Taken(start.model, tuple(ticked), (), start.compute_dtype))
    head = (inputs, gr.State(found), adding, taken, about, measure, stop, status, progress, problem, gr.State(None))
    parts = QualityParts(*head, *_results())
    handlers = QualityHandlers(parts, app, services)
    _wire(parts, handlers)
    return handlers


def _first_offers(start: QualityChoice, app: AppSettings, services: Services) -> tuple[Estimate, ...]:
    """The bundled model's estimates; none where it cannot be read, which the run then says on its own."""
    try:
        return services.estimates(start.model, Placement(device=app.device or "auto"))
    except QuantlabError:
        return ()


def _results() -> tuple[Any, ...]:
    empty = gr.HTML(html.EMPTY, elem_id="quality-empty", apply_default_css=False)
    table = gr.HTML("", elem_id="quality-table", apply_default_css=False)
    with gr.Column(visible=False, elem_id="quality-advised") as advised:
        gr.HTML("<h3>Which one to take</h3>", apply_default_css=False)
        with gr.Row(elem_id="quality-limits"):
            bound = gr.Number(
                KLD_BOUND, label="Largest distance (KLD bound)", info=html.BOUND_HELP, step=0.01,
                elem_id="quality-bound",
            )  # fmt: skip
            memory = gr.Number(0, label="Memory limit, MB", info=html.MEMORY_HELP, elem_id="quality-memory")
        advice = gr.HTML("", elem_id="quality-advice", apply_default_css=False)
        ask = gr.Button("Ask these", size="sm", min_width=100, scale=0, elem_id="ask-these")
    with gr.Column(visible=False, elem_id="quality-charts") as charts:
        made = tuple(map(_panel, CHARTS))
    return empty, table, advised, bound, memory, advice, ask, charts, made


def _panel(chart: QualityChart) -> Panel:
    with gr.Column(elem_id=f"panel-{chart.key}", min_width=280) as column:
        gr.HTML(panels.head(chart), apply_default_css=False)
        pick = gr.Dropdown([], label=chart.pick, elem_classes="pick-one", min_width=120) if chart.pick else None
        plot = gr.Plot(label=chart.title, show_label=False, container=False, elem_classes="as-chart")
        table = gr.HTML("", elem_classes="as-table", apply_default_css=False)
    return Panel(column, (plot,), table, pick)


def _wire_offers(parts: QualityParts, handlers: QualityHandlers) -> None:
    """What changes the tick list: another model or compute type, an added checkpoint."""
    chosen, adding = parts.inputs, parts.adding
    listed = [parts.offered, chosen.precisions, chosen.reference]
    before = [chosen.compute_dtype, chosen.precisions, parts.offered]
    quick = {"show_progress": "hidden", "concurrency_limit": 4, "api_visibility": "private"}
    gr.on(
        [chosen.model.input, chosen.compute_dtype.input],
        handlers.estimate, [chosen.model, *before], [*listed, parts.about, parts.problem], **quick,
    )  # fmt: skip
    gr.on(
        [adding.add.click, adding.spec.submit],
        handlers.add, [adding.spec, *before], [*listed, adding.spec, adding.said], **quick,
    )  # fmt: skip


def _wire(parts: QualityParts, handlers: QualityHandlers) -> None:
    inputs = parts.inputs.listed()
    limits = [parts.quality, parts.bound, parts.memory]
    begun = parts.measure.click(handlers.begin, inputs, parts.results(), **SMALL)
    run = begun.then(
        handlers.measure, inputs, parts.results(), show_progress="hidden", api_name="quality",
        trigger_mode="multiple", **DEVICE_QUEUE,
    )  # fmt: skip
    run.then(handlers.advise, limits, parts.advice, **SMALL)
    wire_stop(parts.stop, handlers, parts.results(), run)
    gr.on([parts.bound.input, parts.memory.input], handlers.advise, limits, parts.advice, **SMALL)
    shown = [parts.inputs.source, parts.inputs.pasted, parts.inputs.file]
    parts.inputs.source.input(handlers.source, parts.inputs.source, shown, **SMALL)
    suited = [parts.inputs.model, parts.inputs.source]
    parts.inputs.model.input(handlers.suit, suited, [parts.inputs.source, parts.inputs.tasks], **SMALL)
    _wire_offers(parts, handlers)
    for index, panel in enumerate(parts.panels):
        if panel.pick is not None:
            panel.pick.input(handlers.pick(index), [parts.quality, panel.pick], [*panel.plots, panel.table], **SMALL)
    gr.context.Context.root_block.unload(handlers.leave)
