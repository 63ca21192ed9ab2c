"""The tab that looks inside a weight matrix. What it does is in handlers.py; nothing is computed until it is open."""

from typing import Any

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.teach.inside import grids
from quantlab.ui.common import models, rail
from quantlab.ui.common.panel import Panel, panel_of
from quantlab.ui.common.panels import Named
from quantlab.ui.common.tab import LAST, SMALL, TAKES_TURNS
from quantlab.ui.inside import fragments as html
from quantlab.ui.inside.form import BLOCKS, LAYER, NOTHING, PLAIN, SHOWN, TYPED, InsideChoice
from quantlab.ui.inside.handlers import InsideHandlers
from quantlab.ui.inside.parts import InsideInputs, InsideParts
from quantlab.ui.services import Services

LEVELS = Named(
    "inside-levels", "Numbers and levels",
    "Grey: all numbers of the matrix over this range, with the levels as lines. Below, each number shown goes to its "
    "level.",
)  # fmt: skip
CHANNELS = Named(
    "inside-channels",
    "Channels and losses",
    "Left: the largest magnitude of each input channel. Right: what the product loses in 8 bits, by their spread.",
)


def build(opening: rail.Opening, app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired."""
    tab, start = gr.context.Context.block, InsideChoice(model=_first(opening.known))
    with gr.Row(elem_id="inside-bench"):
        with gr.Column(min_width=260, elem_id="inside-rail"):
            inputs, of_model, of_integers = _inputs(start, app, opening)
        with gr.Column(min_width=280, elem_id="inside-stage"):
            problem = gr.HTML("", elem_id="inside-problem", apply_default_css=False)
            told = gr.HTML("", elem_id="inside-told", apply_default_css=False)
            chart = _panel(LEVELS, 1)
            with gr.Row(elem_id="inside-pair"):
                values = gr.HTML("", elem_id="inside-values", apply_default_css=False)
                cost = gr.HTML("", elem_id="inside-cost", apply_default_css=False)
            methods = gr.HTML("", elem_id="inside-methods", apply_default_css=False)
            saves = gr.HTML("", elem_id="inside-saves", apply_default_css=False)
            below = _outliers()
    top = (inputs, of_model, of_integers, problem, told, chart, values, cost, saves, methods)
    parts = InsideParts(*top, *below)
    _wire(parts, InsideHandlers(parts, app, services), tab)


def _first(known: tuple[tuple[str, str, str], ...]) -> str:
    """The bundled model, which opens at once; where it is not offered, the first."""
    return next((name for name, kind, _ in known if kind == "demo"), models.start_model(known))


def _inputs(start: InsideChoice, app: AppSettings, opening: rail.Opening) -> tuple[InsideInputs, gr.Column, gr.Column]:
    named = grids.names()
    source = gr.Radio([LAYER, TYPED], value=start.source, label="Numbers from", elem_id="inside-source")
    with gr.Column(elem_id="inside-of-model") as of_model:
        model = gr.Dropdown(
            [name for name, _, _ in opening.known], value=start.model, label="Model", elem_id="inside-model",
            allow_custom_value=not app.public,
            info=None if app.public else "Pick one, or type a Hugging Face id, a folder or a .gguf file",
        )  # fmt: skip
        layer = gr.Dropdown([], value=None, label="Layer", allow_custom_value=True, elem_id="inside-layer")
        with gr.Row():
            block = gr.Number(
                start.block, label="Block", min_width=90, elem_id="inside-block",
                info="row by row, from 0",
            )  # fmt: skip
            shown = gr.Dropdown(
                list(SHOWN), value=start.shown, label="Numbers in it", min_width=90, elem_id="inside-shown",
                info="of one row",
            )  # fmt: skip
    values = gr.Textbox(
        start.values, label="Numbers", lines=3, max_lines=8, max_length=100_000, visible=False, elem_id="inside-typed",
        info="with a point; commas or spaces between them",
    )  # fmt: skip
    grid = gr.Dropdown([PLAIN, *named], value=start.grid, label="Method", elem_id="inside-grid")
    with gr.Column(visible=False, elem_id="inside-of-integers") as of_integers:
        bits = gr.Slider(*grids.BITS, value=start.bits, step=1, label="Bits", elem_id="inside-bits")
        block_size = gr.Dropdown(
            list(BLOCKS), value=start.block_size, label="Numbers that share a scale", elem_id="inside-block-size"
        )
        zero_point = gr.Checkbox(start.zero_point, label="Zero point", elem_id="inside-zero-point")
    beside = gr.Dropdown(
        [NOTHING, *grids.PLAIN, *named], value=start.beside, label="Set beside", elem_id="inside-beside"
    )
    fields = (source, model, layer, block, shown, values, grid, bits, block_size, zero_point, beside)
    return InsideInputs(*fields), of_model, of_integers


def _panel(named: Named, plots: int) -> Panel:
    return panel_of(named, [named.title] * plots, row="inside-plots")


def _outliers() -> tuple[Any, ...]:
    with gr.Accordion("Outlier channels: why large models break", open=False, elem_id="inside-outliers"):
        gr.HTML(html.ABOUT_OUTLIERS, apply_default_css=False)
        read = gr.Button("Read a text", variant="primary", scale=0, min_width=140, elem_id="inside-read")
        problem = gr.HTML("", elem_id="inside-outlier-problem", apply_default_css=False)
        with gr.Column(visible=False, elem_id="inside-outlying") as outlying:
            sigma = gr.Slider(
                0, 2.5, value=0.7, step=0.05, label="Spread of the channels (sigma)", elem_id="inside-sigma",
                info="0: all channels equally large. The function of the layer stays the same.",
            )  # fmt: skip
            told = gr.HTML("", elem_id="inside-channels-told", apply_default_css=False)
            chart = _panel(CHANNELS, 2)
            product = gr.HTML("", elem_id="inside-product", apply_default_css=False)
    return read, sigma, outlying, told, chart, product, problem


def _wire(parts: InsideParts, handlers: InsideHandlers, tab: gr.Tab) -> None:
    inputs, fields = parts.inputs, parts.inputs.listed()
    slow = {"show_progress": "minimal", "api_visibility": "private"}

    def then_methods(event: Any) -> None:
        event.then(handlers.methods, fields, [parts.methods, parts.saves], **SMALL)

    then_methods(tab.select(handlers.opened, fields, parts.view(), **SMALL))
    then_methods(inputs.model.input(handlers.model, fields, parts.view(), **slow, **LAST))
    moves = [inputs.layer.input, inputs.shown.input]
    then_methods(gr.on(moves, handlers.moved, fields, parts.view(), **LAST, **SMALL))
    changes = [
        inputs.source.input, inputs.block.input, inputs.values.change, inputs.grid.input, inputs.bits.input,
        inputs.block_size.input, inputs.zero_point.input, inputs.beside.input,
    ]  # fmt: skip
    then_methods(gr.on(changes, handlers.look, fields, parts.view(), **LAST, **SMALL))
    parts.read.click(handlers.read, fields, parts.outliers(), **slow, **TAKES_TURNS)
    parts.sigma.input(
        handlers.spread, [parts.sigma, *fields], parts.outliers(), **LAST, show_progress="hidden",
        api_visibility="private", **TAKES_TURNS,
    )  # fmt: skip
