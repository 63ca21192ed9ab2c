"""The components of the tab, for those who fill them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.ui.common.panel import Panel
from quantlab.ui.common.tab import InputFields


@dataclass(frozen=True)
class PlanInputs(InputFields):
    """The inputs, in the order of `PlanChoice`'s fields."""

    source: gr.Radio
    model: gr.Dropdown
    layers: gr.Number
    hidden_size: gr.Number
    heads: gr.Number
    intermediate_size: gr.Number
    vocabulary: gr.Number
    key_value_heads: gr.Number
    head_dim: gr.Number
    tied: gr.Checkbox
    precisions: gr.Dropdown
    context: gr.Number
    batch: gr.Number
    kv: gr.Dropdown
    card: gr.Dropdown
    compute_dtype: gr.Dropdown
    piece: gr.Number
    finetune: gr.Radio
    rank: gr.Number
    targets: gr.Textbox
    checkpointing: gr.Checkbox


@dataclass(frozen=True)
class PlanParts:
    """Every component that a handler fills."""

    inputs: PlanInputs
    numbers: gr.Column
    problem: gr.HTML
    verdicts: gr.HTML
    chart: Panel
    cards: gr.HTML
    inverse: gr.HTML
    trained: gr.HTML

    def results(self) -> list[Any]:
        named = [self.inputs.model, self.numbers]
        return [
            *named,
            self.problem,
            self.verdicts,
            *self.chart.listed(),
            self.cards,
            self.inverse,
            self.trained,
        ]
