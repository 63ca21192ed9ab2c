"""The tab "Fine-tune": rows and settings on the left, the training on the right. What it does is in handlers.py."""

from typing import Any

import gradio as gr

from quantlab.finetune.job import BASES
from quantlab.finetune.sets import SETS
from quantlab.settings import AppSettings
from quantlab.ui.common import rail
from quantlab.ui.common.panel import panel_of
from quantlab.ui.common.panels import Named
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.tab import LAST, SMALL, TAKES_TURNS
from quantlab.ui.finetune import form, view
from quantlab.ui.finetune.form import FinetuneChoice
from quantlab.ui.finetune.handlers import FinetuneHandlers
from quantlab.ui.finetune.parts import FinetuneInputs, FinetuneParts
from quantlab.ui.services import Services

_BEGINNINGS = [
    ("nothing: the model is as before", "default"),
    ("what 4 bits lost (LoftQ)", "loftq"),
    ("the largest part of the weights (PiSSA)", "pissa"),
]
LOSS = Named("loss", "Loss", "How surprised the model is by what it should write, in nats a token: lower is better.")
MEMORY = Named(
    "training-memory",
    "Memory",
    "What this training takes by part, measured; below, what ways to train the same rows would take, as they are "
    "computed for a GPU, which works in 16 bits. A CPU works in 32.",
)


def build(opening: rail.Opening, app: AppSettings, services: Services) -> FinetuneParts:
    """Make the tab inside the current Blocks, wired."""
    allowed = not app.zero_gpu and (not app.public or app.public_finetune)
    start = FinetuneChoice()
    gr.HTML(view.intro(app, allowed), elem_id="finetune-intro", apply_default_css=False)
    with gr.Row(elem_id="finetune-bench"):
        with gr.Column(min_width=280, elem_id="finetune-asked", elem_classes="choose-card"):
            inputs, about = _inputs(start, app, opening)
        with gr.Column(min_width=280, elem_id="finetune-stage"):
            parts = _stage(inputs, about, allowed)
    _wire(parts, FinetuneHandlers(parts, app, services), allowed)
    return parts


def _inputs(start: FinetuneChoice, app: AppSettings, opening: rail.Opening) -> tuple[FinetuneInputs, gr.HTML]:
    known = [name for name, kind, _ in opening.known if kind != "shape"]
    data = gr.Dropdown(
        list(SETS) if app.public else [*SETS, form.OWN],
        value=start.data,
        label="Rows to learn",
        elem_id="finetune-data",
    )
    about = gr.HTML(view.about(start.data), elem_id="finetune-about", apply_default_css=False)
    file = gr.File(
        label="JSONL or CSV", file_types=[".jsonl", ".csv"], visible=False, elem_id="finetune-file", height=110
    )
    model = gr.Dropdown(
        known, value=start.model, label="Model", allow_custom_value=not app.public, elem_id="finetune-model"
    )
    method = gr.Radio(
        [("Adapters (LoRA)", "lora"), ("All weights", "full")], value=start.method, label="What is trained",
        visible=not app.public, elem_id="finetune-method",
    )  # fmt: skip
    precision = gr.Dropdown(
        list(BASES), value=start.precision, label="Precision of the base", elem_id="finetune-precision",
        info="Weights as they are, or quantized; they stay so.",
    )  # fmt: skip
    name = gr.Textbox(
        form.free_name(start.name, app), label="Name of the adapter or model", max_lines=1, elem_id="finetune-name"
    )
    with gr.Row():
        steps = _number(start, "steps", "Steps")
        batch = _number(start, "batch", "Batch, rows")
    with gr.Accordion("Settings", open=False, elem_id="finetune-settings"):
        with gr.Row():
            rate = _number(start, "learning_rate", "Learning rate", precision=None)
            rank = _number(start, "rank", "Rank")
        with gr.Row():
            alpha = _number(start, "alpha", "Alpha")
            dropout = _number(start, "dropout", "Dropout", precision=None)
        targets = gr.Textbox(
            start.targets, label="Layers with adapters", info="By name, or all-linear", max_lines=1,
            elem_id="finetune-targets",
        )  # fmt: skip
        with gr.Row():
            context = _number(start, "context", "Context, tokens")
            held_out = _number(start, "held_out", "Share held out", precision=None)
        seed = _number(start, "seed", "Seed")
        raw = gr.Checkbox(start.raw, label="Leave the chat template out", elem_id="finetune-raw")
        rslora = gr.Checkbox(start.rslora, label="rsLoRA: scale by the root of the rank", elem_id="finetune-rslora")
        dora = gr.Checkbox(start.dora, label="DoRA: train sizes beside directions", elem_id="finetune-dora")
        init = gr.Dropdown(
            _BEGINNINGS, value=start.init_lora_weights, label="Adapters begin with", elem_id="finetune-init",
        )  # fmt: skip
    return FinetuneInputs(
        data, file, model, precision, name, steps, batch, rate, rank, alpha, dropout, targets, context, held_out, seed,
        raw, rslora, dora, init, method,
    ), about  # fmt: skip


def _number(start: FinetuneChoice, name: str, label: str, precision: int | None = 0) -> gr.Number:
    return gr.Number(getattr(start, name), label=label, precision=precision, min_width=110, elem_id=f"finetune-{name}")


def _stage(inputs: FinetuneInputs, about: gr.HTML, allowed: bool) -> FinetuneParts:
    with gr.Row(elem_id="finetune-actions", elem_classes="actions"):
        train = gr.Button(
            "Train", variant="primary", elem_id="finetune-start", scale=0, min_width=110, interactive=allowed
        )
        stop = gr.Button("Stop", elem_id="finetune-stop", interactive=False, scale=0, min_width=70)
        look = gr.Button("Show the first rows", elem_id="finetune-look", scale=0, min_width=210)
    status = gr.HTML(view.empty() if allowed else "", elem_id="finetune-status", apply_default_css=False)
    result = gr.HTML("", elem_id="finetune-result", apply_default_css=False)
    compare = gr.Button("Ask it beside its base", visible=False, elem_id="finetune-compare", scale=0)
    preview = gr.HTML("", elem_id="finetune-preview", apply_default_css=False)
    with gr.Column(visible=False, elem_id="finetune-charts") as charts:
        losses, memory = panel_of(LOSS, [LOSS.title]), panel_of(MEMORY, [MEMORY.title])
    led = (gr.State(""), gr.State([]), gr.State(PrecisionList()), gr.State("default"), gr.State(""))
    return FinetuneParts(
        inputs, about, train, stop, look, status, preview, losses, memory, charts, result,
        compare, led,
    )  # fmt: skip


def _wire(parts: FinetuneParts, handlers: FinetuneHandlers, allowed: bool) -> None:
    inputs = parts.inputs
    changed: list[Any] = [parts.about, inputs.file, inputs.name, parts.preview, inputs.model, inputs.method]
    changed += [inputs.precision, inputs.steps, inputs.batch, inputs.learning_rate, inputs.context, inputs.held_out]
    inputs.data.input(handlers.chosen, [inputs.data], [*changed, *parts.of_adapters()], **SMALL, **LAST)
    inputs.method.input(
        handlers.method_chosen,
        [inputs.method, inputs.data],
        [inputs.precision, inputs.learning_rate, *parts.of_adapters()],
        **SMALL,
        **LAST,
    )
    inputs.file.change(lambda: "", None, [parts.preview], **SMALL)
    parts.look.click(handlers.look, inputs.listed(), [parts.preview], **SMALL)
    if not allowed:
        return
    shown = parts.shown()
    begun = parts.start.click(handlers.begin, None, shown, **SMALL)
    begun.then(handlers.run, inputs.listed(), shown, show_progress="hidden", api_visibility="private", **TAKES_TURNS)
    parts.stop.click(handlers.stop, None, shown, **SMALL)
    gr.context.Context.root_block.unload(handlers.leave)
