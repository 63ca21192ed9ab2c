"""The components of the tab Learn."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.ui.common.panel import Panel
from quantlab.ui.common.tab import InputFields


@dataclass(frozen=True)
class ActInputs(InputFields):
    """The controls of all second steps, in the order of the fields of `Acted`; each lesson shows its own."""

    prompt: gr.Textbox
    numbers: gr.Textbox
    bits: gr.Slider
    planned: gr.Dropdown
    precision: gr.Radio
    context: gr.Number
    model: gr.Radio
    card: gr.Dropdown


@dataclass(frozen=True)
class PredictParts:
    text: gr.HTML
    number: gr.Textbox
    choice: gr.Radio
    go: gr.Button
    problem: gr.HTML


@dataclass(frozen=True)
class ActParts:
    text: gr.HTML
    inputs: ActInputs
    show: gr.Button
    start: gr.Button
    stop: gr.Button
    status: gr.HTML


@dataclass(frozen=True)
class ObserveParts:
    verdict: gr.HTML
    text: gr.HTML
    told: gr.HTML
    chart: Panel
    again: gr.Button
    on: gr.Button


@dataclass(frozen=True)
class ReflectParts:
    text: gr.HTML
    following: gr.Button


@dataclass(frozen=True)
class LessonsParts:
    """`tried` holds the predictions of this visitor by the question's id, `opened` the title that is shown."""

    lesson: gr.Radio
    head: gr.HTML
    steps: gr.Walkthrough
    predict: PredictParts
    act: ActParts
    observe: ObserveParts
    reflect: ReflectParts
    teacher: gr.HTML
    tried: gr.State
    opened: gr.State

    @property
    def stop(self) -> gr.Button:
        return self.act.stop

    def view(self) -> list[Any]:
        """What opening a lesson fills."""
        predict = [self.predict.text, self.predict.number, self.predict.choice, self.predict.problem]
        act = [self.act.text, *self.act.inputs.listed(), self.act.show, *self.working()]
        return [self.head, self.steps, *predict, *act, *self.results(), self.teacher, self.opened]

    def working(self) -> list[Any]:
        """What tells of a run."""
        return [self.act.start, self.act.stop, self.act.status]

    def results(self) -> list[Any]:
        """What the third and the fourth step show."""
        seen = self.observe
        return [seen.verdict, seen.text, seen.told, seen.chart.head, *seen.chart.listed(), self.reflect.text]
