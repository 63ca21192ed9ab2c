"""The components of the tab, for those who fill them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.ui.common.panel import Panel
from quantlab.ui.common.tab import InputFields


@dataclass(frozen=True)
class InsideInputs(InputFields):
    """The inputs, in the order of the fields of `InsideChoice`."""

    source: gr.Radio
    model: gr.Dropdown
    layer: gr.Dropdown
    block: gr.Number
    shown: gr.Dropdown
    values: gr.Textbox
    grid: gr.Dropdown
    bits: gr.Slider
    block_size: gr.Dropdown
    zero_point: gr.Checkbox
    beside: gr.Dropdown


@dataclass(frozen=True)
class InsideParts:
    """Every component that a handler fills."""

    inputs: InsideInputs
    of_model: gr.Column
    of_integers: gr.Column
    problem: gr.HTML
    told: gr.HTML
    chart: Panel
    values: gr.HTML
    cost: gr.HTML
    saves: gr.HTML
    methods: gr.HTML
    read: gr.Button
    sigma: gr.Slider
    outlying: gr.Column
    channels: gr.HTML
    channels_chart: Panel
    product: gr.HTML
    outlier_problem: gr.HTML

    def view(self) -> list[Any]:
        """What a change of an input fills at once."""
        inputs = self.inputs
        shown = [self.of_model, self.of_integers, inputs.values, inputs.block, inputs.layer, self.outlying]
        return [*shown, self.problem, self.told, *self.chart.listed(), self.values, self.cost]

    def outliers(self) -> list[Any]:
        return [
            self.outlying,
            self.sigma,
            self.channels,
            *self.channels_chart.listed(),
            self.product,
            self.outlier_problem,
        ]
