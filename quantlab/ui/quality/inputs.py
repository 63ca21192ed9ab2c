"""The components of what a visitor chooses on the quality tab."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.fidelity import tasks, texts
from quantlab.settings import AppSettings
from quantlab.ui.common import picker
from quantlab.ui.common.explained import info
from quantlab.ui.common.tab import InputFields
from quantlab.ui.quality import form as choices
from quantlab.ui.quality import fragments as quality_fragments
from quantlab.ui.quality.form import FILE, PASTE, PUBLIC_TEXT_BYTES, QualityChoice
from quantlab.ui.services import Services

SOURCE_LABELS = (
    ("Demo world", "demo"), ("English prose", "english"), ("WikiText-2", "wikitext2"), ("Paste", PASTE),
    ("Upload", FILE),
)  # fmt: skip


@dataclass(frozen=True)
class QualityInputs(InputFields):
    """The inputs, in the order of `QualityChoice`'s fields."""

    model: gr.Dropdown
    precisions: picker.PrecisionPicker
    source: gr.Radio
    pasted: gr.Textbox
    file: gr.File
    windows: gr.Slider
    tasks: gr.CheckboxGroup
    more_tasks: gr.Textbox
    layers: gr.Checkbox
    noise_floor: gr.Checkbox
    reference: gr.Dropdown
    compute_dtype: gr.Dropdown


def text_inputs(start: QualityChoice, app: AppSettings) -> tuple[Any, Any, Any, Any]:
    """Which text is read, and how much of it."""
    with gr.Row(elem_classes="quality-pair"):
        source = gr.Radio(
            list(SOURCE_LABELS), value=start.source, label="Text that every precision reads", elem_id="quality-source",
            info=source_info(start.source, suits=True), scale=5, min_width=300,
        )  # fmt: skip
        windows = gr.Slider(
            1, choices.most_windows(app), start.windows, step=1, label="Windows of up to 512 tokens",
            info=info("windows"),
            elem_id="quality-windows", scale=3, min_width=250,
        )  # fmt: skip
    most = f"at most {PUBLIC_TEXT_BYTES / 1e3:.0f} kB" if app.public else f"at most {texts.MAX_BYTES / 1e6:.0f} MB"
    pasted = gr.Textbox(
        label="Your text", lines=5, max_lines=10, visible=False, elem_id="quality-pasted",
        placeholder=f"Some pages of plain text, {most}: a window takes about 350 words.",
    )  # fmt: skip
    file = gr.File(label=f"Your text file (UTF-8, {most})", visible=False, height=110, elem_id="quality-file")
    return source, pasted, file, windows


def source_info(source: str, suits: bool = False) -> str:
    """What a text is, in a line. `suits`: it was chosen for the model, not by the visitor."""
    about = texts.NAMED.get(source)
    if about:
        return f"{about[:1].upper()}{about[1:]}.{' Chosen because it suits this model.' * suits}"
    return "Text like that which you want the model for tells most." if source in (PASTE, FILE) else ""


def suiting_tasks(model: str, app: AppSettings, why_not: str) -> dict[str, Any]:
    """Choices and words of the tasks for a model: the bundled ones ask about the demo's world."""
    if texts.suiting(model, app) != "demo":
        return {"choices": [], "info": why_not or "The bundled ones ask about the demo’s world, unknown to this model."}
    about = "Questions with a right answer, through lm-evaluation-harness. They take longer than the text."
    return {"choices": [(task.name, task.name) for task in tasks.task_names()], "info": why_not or about}


def task_inputs(start: QualityChoice, app: AppSettings, services: Services) -> tuple[Any, Any, Any, Any]:
    """Which tasks are answered; greyed with the reason where none can be. And the two boxes: layers and noise floor."""
    why_not = services.no_tasks()
    with gr.Row(elem_classes="quality-pair"):
        ticks = gr.CheckboxGroup(
            value=list(start.tasks), label="Tasks (accuracy)", interactive=not why_not, elem_id="quality-tasks",
            scale=5, min_width=300, **suiting_tasks(start.model, app, why_not),
        )  # fmt: skip
        more = gr.Textbox(
            label="Other tasks of lm-evaluation-harness", max_lines=1, max_length=500, visible=not app.public,
            interactive=not why_not, placeholder="hellaswag, arc_easy", elem_id="quality-more-tasks",
            info=info("more_tasks"), scale=3, min_width=250,
        )  # fmt: skip
    gr.HTML(quality_fragments.describe_tasks(tasks.task_names()), elem_id="quality-tasks-told", apply_default_css=False)
    with gr.Row(elem_classes="quality-pair"):
        floor = gr.Checkbox(
            start.noise_floor, label="Read the noise floor: what is mere rounding?", elem_id="quality-noise-floor",
            info=info("noise_floor"),
            scale=5, min_width=300,
        )  # fmt: skip
        layers = gr.Checkbox(
            start.layers, label="Look into the layers: where does the error arise?", elem_id="quality-layers",
            info=info("layers"), scale=3, min_width=250,
        )  # fmt: skip
    return ticks, more, layers, floor
