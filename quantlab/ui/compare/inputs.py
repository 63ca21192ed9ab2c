"""The components of what a visitor chooses: model, precisions, prompt, settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.methods.calibration import MIN_LENGTH
from quantlab.settings import AppSettings
from quantlab.ui.common import fragments, picker, rail
from quantlab.ui.common.explained import exactly, info
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.tab import InputFields
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice

#: What under Settings has a definition of its own.
_DEFINED = (
    "max_new_tokens", "reference", "compute_dtype", "sample", "temperature", "top_k", "top_p", "raw", "race", "samples",
    "kernel", "fresh",
)  # fmt: skip


@dataclass(frozen=True)
class Inputs(InputFields):
    """The inputs, in the order of `Choice`'s fields."""

    model: gr.Dropdown
    precisions: picker.PrecisionPicker
    prompt: gr.Textbox
    max_new_tokens: gr.Slider
    sample: gr.Checkbox
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    seed: gr.Number
    reference: gr.Dropdown
    compute_dtype: gr.Dropdown
    raw: gr.Checkbox
    race: gr.Checkbox
    calibration_samples: gr.Number
    calibration_length: gr.Number
    calibration_file: gr.File
    kernel: gr.Dropdown
    fresh: gr.Checkbox


def prompt_input(start: Choice) -> gr.Textbox:
    """The prompt: three lines, more as it grows."""
    return gr.Textbox(
        start.prompt, label="Prompt", lines=3, max_lines=14, elem_id="prompt", placeholder="What shall they answer?"
    )


def example_buttons(labels: Sequence[str]) -> tuple[gr.Button, ...]:
    with gr.Row(elem_id="examples"):
        gr.HTML('<span class="faint" id="examples-label">Examples</span>', apply_default_css=False)
        return tuple(gr.Button(label, size="sm", min_width=56, scale=0) for label in labels)


def settings_inputs(start: Choice, found: PrecisionList, app: AppSettings) -> tuple[tuple[Any, ...], gr.HTML]:
    """Everything under Settings, in the order of `Choice`'s fields, and the warning that belongs to a race."""
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        new_tokens = gr.Slider(
            1,
            app.max_new_tokens,
            min(start.max_new_tokens, app.max_new_tokens),
            step=1,
            label="New tokens",
            info=info("max_new_tokens"),
        )
        reference, dtype = rail.comparing(found)
        sample = gr.Checkbox(start.sample, label="Sample", info=info("sample"))
        with gr.Row():
            temperature = gr.Slider(
                0.1, 2.0, start.temperature, step=0.05, label="Temperature", info=info("temperature")
            )
            top_k = gr.Slider(0, 200, start.top_k, step=1, label="Top-k", info=info("top_k"))
        with gr.Row():
            top_p = gr.Slider(0.05, 1.0, start.top_p, step=0.01, label="Top-p", info=info("top_p"))
            seed = gr.Number(start.seed, label="Seed", info=info("seed"), precision=0, minimum=0, maximum=2**31 - 1)
        raw = gr.Checkbox(start.raw, label="Raw prompt (without the model's chat template)", info=info("raw"))
        race = gr.Checkbox(start.race, label="Race (all at once)", info=info("race"))
        warning = gr.HTML(fragments.RACE_WARNING, visible=False, apply_default_css=False)
        quantizing = _quantizing_inputs(start, app)
        fresh = gr.Checkbox(
            start.fresh, label="Measure again, even where the answer is known", info=info("fresh"), elem_id="fresh"
        )
        gr.HTML(exactly(*_DEFINED), elem_id="settings-defined", apply_default_css=False)
    values = (new_tokens, sample, temperature, top_k, top_p, seed, reference, dtype, raw, race, *quantizing, fresh)
    return values, warning


def _quantizing_inputs(start: Choice, app: AppSettings) -> tuple[Any, ...]:
    gr.HTML(fragments.calibration(), apply_default_css=False)
    samples_most = start.calibration_samples if app.public else choices.MAX_SAMPLES
    length_most = start.calibration_length if app.public else choices.MAX_LENGTH
    with gr.Row():
        samples = gr.Number(
            start.calibration_samples,
            label="Samples",
            info=info("samples"),
            precision=0,
            minimum=1,
            maximum=samples_most,
            min_width=100,
        )
        length = gr.Number(
            start.calibration_length,
            label="Window, tokens",
            info=info("length"),
            precision=0,
            minimum=MIN_LENGTH,
            maximum=length_most,
            min_width=100,
        )
        kernel = gr.Dropdown(
            list(choices.KERNELS), value=start.kernel, label="Kernel (GPTQ, AWQ)", allow_custom_value=True,
            info=info("kernel"), min_width=140, elem_id="kernel",
        )  # fmt: skip
    file = gr.File(
        label="Own calibration text (.txt)", file_types=[".txt"], visible=not app.public, height=130,
        elem_id="calibration-file",
    )  # fmt: skip
    return samples, length, file, kernel
