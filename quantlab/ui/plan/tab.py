"""The tab "Will it fit?": what is asked on the left, what it takes on the right. What it does is in handlers.py."""

from typing import Any

import gradio as gr

from quantlab.methods import PRECISIONS
from quantlab.runtime.placement import COMPUTE_DTYPES
from quantlab.settings import AppSettings
from quantlab.teach.plan.cards import CARDS, MEMORIES
from quantlab.teach.plan.planning import bundled
from quantlab.ui.common import rail
from quantlab.ui.common.panel import panel_of
from quantlab.ui.common.panels import Named
from quantlab.ui.common.tab import LAST, SMALL
from quantlab.ui.plan import form
from quantlab.ui.plan.form import PlanChoice
from quantlab.ui.plan.handlers import PlanHandlers
from quantlab.ui.plan.parts import PlanInputs, PlanParts
from quantlab.ui.services import Services

#: The model that the tab opens on: a size that people ask about.
START_MODEL = "shape:Mistral-7B-v0.3"
_TYPED = "Or type a Hugging Face id, a folder, a .gguf file. No weights are fetched."


MEMORY = Named("plan", "Memory", "What each precision would take, part by part. The dashed line is the card’s memory.")


def build(opening: rail.Opening, app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired. Nothing is planned before it is opened."""
    tab = gr.context.Context.block
    start = PlanChoice(model=START_MODEL)
    with gr.Row(elem_id="plan-bench"):
        with gr.Column(min_width=280, elem_id="plan-asked", elem_classes="choose-card"):
            named, numbers, more = _model(start, app, opening)
            asked = _asked(start)
        with gr.Column(min_width=280, elem_id="plan-stage"):
            problem = gr.HTML("", elem_id="plan-problem", apply_default_css=False)
            verdicts = gr.HTML("", elem_id="plan-verdicts", apply_default_css=False)
            chart = panel_of(MEMORY, [MEMORY.title], visible=False)
            inverse = gr.HTML("", elem_id="plan-inverse", apply_default_css=False)
            cards = gr.HTML("", elem_id="plan-cards", apply_default_css=False)
            with gr.Accordion("Fine-tuning", open=False, elem_id="plan-training"):
                tuning = _tuning(start)
                trained = gr.HTML("", elem_id="plan-trained", apply_default_css=False)
    inputs = PlanInputs(*named, *more, *asked, *tuning)
    parts = PlanParts(inputs, numbers, problem, verdicts, chart, cards, inverse, trained)
    _wire(parts, PlanHandlers(parts, app, services), tab)


def _model(start: PlanChoice, app: AppSettings, opening: rail.Opening) -> tuple[Any, ...]:
    """Which model: by its name, or by its numbers."""
    source = gr.Radio([form.NAMED, form.NUMBERS], value=start.source, label="Which model", elem_id="plan-source")
    known = [name for name, _, _ in opening.known]
    model = gr.Dropdown(
        list(dict.fromkeys((*bundled(), *known))), value=start.model, label="Model", elem_id="plan-model",
        info="No weights are fetched." if app.public else _TYPED,
        allow_custom_value=not app.public,
    )  # fmt: skip
    with gr.Column(visible=False, elem_id="plan-numbers") as numbers:
        boxes = [
            gr.Number(getattr(start, name), label=label, precision=0, min_width=110, elem_id=f"plan-{name}")
            for name, label in (
                ("layers", "Layers"), ("hidden_size", "Hidden size"), ("heads", "Attention heads"),
                ("intermediate_size", "MLP size"), ("vocabulary", "Vocabulary"),
                ("key_value_heads", "KV heads (0: all)"), ("head_dim", "Head size (0: auto)"),
            )
        ]  # fmt: skip
        tied = gr.Checkbox(start.tied, label="The output head is the embeddings (tied)", elem_id="plan-tied")
    return (source, model), numbers, (*boxes, tied)


def _asked(start: PlanChoice) -> tuple[Any, ...]:
    precisions = gr.Dropdown(
        list(PRECISIONS), value=list(start.precisions), multiselect=True, label="Precisions",
        max_choices=form.MOST_PRECISIONS, elem_id="plan-precisions",
    )  # fmt: skip
    with gr.Row():
        context = gr.Number(
            start.context, label="Context, tokens", info="Prompt and answer", precision=0, min_width=110,
            elem_id="plan-context",
        )  # fmt: skip
        batch = gr.Number(
            start.batch, label="Batch", info="Sequences at once", precision=0, min_width=110,
            elem_id="plan-batch",
        )  # fmt: skip
    # First what Enter in an emptied box chooses: no card, and not the first of them without a word.
    cards = [("Choose a card, or type a size", ""), *(it.name for it in (*CARDS, *MEMORIES))]
    card = gr.Dropdown(
        cards, value=start.card, label="Card or memory", allow_custom_value=True,
        info="Or type a size: 12 GB, 11.5 GiB", elem_id="plan-card",
    )  # fmt: skip
    with gr.Accordion("Keys, values and types", open=False, elem_id="plan-types"):
        kv = gr.Dropdown(
            list(form.KV_CHOICES), value=start.kv, label="KV cache", info="auto: as the precision computes",
            elem_id="plan-kv",
        )  # fmt: skip
        dtype = gr.Dropdown(
            list(COMPUTE_DTYPES), value=start.compute_dtype, label="Compute dtype", elem_id="plan-dtype"
        )
        piece = gr.Number(
            start.piece, label="Tokens of the prompt read at once", precision=0,
            info="0: all, as transformers does. Fewer need less for activations.", elem_id="plan-piece",
        )  # fmt: skip
    return precisions, context, batch, kv, card, dtype, piece


def _tuning(start: PlanChoice) -> tuple[Any, ...]:
    kind = gr.Radio(list(form.KINDS), value=start.finetune, label="What is trained", elem_id="plan-kind")
    with gr.Row():
        rank = gr.Number(start.rank, label="Rank of the adapters", precision=0, min_width=110, elem_id="plan-rank")
        targets = gr.Textbox(
            start.targets, label="Layers with adapters", info="By name, or all-linear", max_lines=1, min_width=180,
            elem_id="plan-targets",
        )  # fmt: skip
    checkpointing = gr.Checkbox(
        start.checkpointing, label="Activations are computed again (gradient checkpointing)", elem_id="plan-again"
    )
    return kind, rank, targets, checkpointing


def _wire(parts: PlanParts, handlers: PlanHandlers, tab: gr.Tab) -> None:
    inputs = parts.inputs
    tuning = (inputs.finetune, inputs.rank, inputs.targets, inputs.checkpointing)
    changed = [it.input for it in inputs.listed() if it not in tuning]
    options: dict[str, Any] = SMALL | LAST
    gr.on([tab.select, *changed], handlers.plan, inputs.listed(), parts.results(), **options)
    # A text box tells of what is typed into it by its change alone.
    trained = [inputs.finetune.input, inputs.rank.input, inputs.targets.change, inputs.checkpointing.input]
    gr.on(trained, handlers.train, inputs.listed(), [parts.trained], **options)
