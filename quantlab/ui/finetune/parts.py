"""The components of the tab, for those who fill them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.ui.common.panel import Panel
from quantlab.ui.common.tab import InputFields


@dataclass(frozen=True)
class FinetuneInputs(InputFields):
    """The inputs, in the order of `FinetuneChoice`'s fields."""

    data: gr.Dropdown
    file: gr.File
    model: gr.Dropdown
    precision: gr.Dropdown
    name: gr.Textbox
    steps: gr.Number
    batch: gr.Number
    learning_rate: gr.Number
    rank: gr.Number
    alpha: gr.Number
    dropout: gr.Number
    targets: gr.Textbox
    context: gr.Number
    held_out: gr.Number
    seed: gr.Number
    raw: gr.Checkbox
    rslora: gr.Checkbox
    dora: gr.Checkbox
    init_lora_weights: gr.Dropdown
    method: gr.Radio


@dataclass(frozen=True)
class FinetuneParts:
    """Every component that a handler fills. `led` are the model, the ticks, their list, the compute type and the prompt
    that lead to Compare when a training has ended."""

    inputs: FinetuneInputs
    about: gr.HTML
    start: gr.Button
    stop: gr.Button
    look: gr.Button
    status: gr.HTML
    preview: gr.HTML
    losses: Panel
    memory: Panel
    charts: gr.Column
    result: gr.HTML
    compare: gr.Button
    led: tuple[gr.State, ...]

    def of_adapters(self) -> list[Any]:
        """Settings that say nothing where all weights are trained."""
        inputs = self.inputs
        switches = [inputs.rslora, inputs.dora, inputs.init_lora_weights]
        return [inputs.rank, inputs.alpha, inputs.dropout, inputs.targets, *switches]

    def shown(self) -> list[Any]:
        return [
            *(self.start, self.stop, self.status, *self.losses.listed(), *self.memory.listed()),
            *(self.charts, self.result, self.compare, self.preview, self.inputs.name, *self.led),
        ]
