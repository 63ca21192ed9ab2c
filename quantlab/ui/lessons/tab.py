"""The tab Learn: six lessons in four steps. What it does is in handlers.py; nothing is computed until it is open."""

from typing import Any

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.teach.lessons.acted import BITS, LONGEST_PROMPT, MODELS, PRECISIONS, Acted
from quantlab.teach.lessons.observing import SHOW
from quantlab.teach.plan.cards import CARDS, MEMORIES
from quantlab.teach.plan.planning import bundled
from quantlab.ui import scripts
from quantlab.ui.common.panel import panel_of
from quantlab.ui.common.tab import LAST, SMALL, TAKES_TURNS
from quantlab.ui.lessons import form
from quantlab.ui.lessons import fragments as html
from quantlab.ui.lessons.handlers import LessonsHandlers
from quantlab.ui.lessons.parts import (
    ActInputs,
    ActParts,
    LessonsParts,
    ObserveParts,
    PredictParts,
    ReflectParts,
)
from quantlab.ui.lessons.pictures import EMPTY
from quantlab.ui.services import Services


def build(kept: gr.BrowserState, app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired. `kept` tells which class the visitor has joined."""
    tab, titles = gr.context.Context.block, form.titles()
    with gr.Column(elem_id="lesson-page"):
        gr.HTML(html.intro(), elem_id="lesson-intro", apply_default_css=False)
        lesson = gr.Radio(list(titles), value=titles[0], label="Lesson", elem_id="lesson-chosen")
        head = gr.HTML("", elem_id="lesson-head", apply_default_css=False)
        with gr.Walkthrough(selected=0, elem_id="lesson-steps") as steps:
            with gr.Step("Predict", id=0, elem_id="lesson-predict"):
                predict = _predict()
            with gr.Step("Act", id=1, elem_id="lesson-act"):
                act = _act(Acted())
            with gr.Step("Observe", id=2, elem_id="lesson-observe"):
                observe = _observe()
            with gr.Step("Reflect", id=3, elem_id="lesson-reflect"):
                reflect = ReflectParts(
                    gr.HTML("", elem_id="lesson-reflect-text", apply_default_css=False),
                    gr.Button("Next lesson", variant="primary", elem_id="lesson-next", scale=0, min_width=150),
                )
        teacher = gr.HTML("", visible=False, elem_id="lesson-teacher", apply_default_css=False)
    parts = LessonsParts(lesson, head, steps, predict, act, observe, reflect, teacher, gr.State({}), gr.State(""))
    _wire(parts, LessonsHandlers(parts, app, services), tab, kept)


def _predict() -> PredictParts:
    return PredictParts(
        gr.HTML("", elem_id="lesson-predict-text", apply_default_css=False),
        gr.Textbox("", label="Your prediction", max_lines=1, max_length=60, elem_id="lesson-number"),
        gr.Radio([], visible=False, label="Your prediction", elem_id="lesson-choice"),
        gr.Button("This is my prediction", variant="primary", elem_id="lesson-go", scale=0, min_width=200),
        gr.HTML("", elem_id="lesson-problem", apply_default_css=False),
    )


def _act(start: Acted) -> ActParts:
    text = gr.HTML("", elem_id="lesson-act-text", apply_default_css=False)
    inputs = _inputs(start)
    with gr.Row(elem_id="lesson-actions", elem_classes="actions"):
        show = gr.Button(SHOW, variant="primary", elem_id="lesson-show", scale=0, min_width=230)
        run = gr.Button("Measure it on this machine", elem_id="lesson-start", scale=0, min_width=270)
        stop = gr.Button("Stop", elem_id="lesson-stop", interactive=False, visible=False, scale=0, min_width=70)
    status = gr.HTML("", elem_id="lesson-status", apply_default_css=False)
    return ActParts(text, inputs, show, run, stop, status)


def _inputs(start: Acted) -> ActInputs:
    """In the order of the fields of `Acted`; none is seen until a lesson that has it is open."""
    shapes, cards = [(name.partition(":")[2], name) for name in bundled()], [it.name for it in (*CARDS, *MEMORIES)]
    return ActInputs(
        gr.Textbox(
            start.prompt, label="Your prompt", info="For the run on this machine", max_lines=3,
            max_length=LONGEST_PROMPT, visible=False, elem_id="lesson-prompt",
        ),
        gr.Textbox(
            start.numbers, label="Your numbers", info="With a point, and commas between them", max_lines=3,
            max_length=2_000, visible=False, elem_id="lesson-numbers",
        ),
        gr.Slider(*BITS, value=start.bits, step=1, label="Bits", visible=False, elem_id="lesson-bits"),
        gr.Dropdown(shapes, value=start.planned, label="Model", visible=False, elem_id="lesson-planned"),
        gr.Radio(list(PRECISIONS), value=start.precision, label="Precision", visible=False, elem_id="lesson-precision"),
        gr.Number(
            start.context, label="Context, tokens", precision=0, visible=False, elem_id="lesson-context",
            info="Prompt and answer together",
        ),
        gr.Radio(list(MODELS), value=start.model, label="Model", visible=False, elem_id="lesson-model"),
        gr.Dropdown(
            cards, value=start.card, label="Card or memory", allow_custom_value=True, visible=False,
            info="Or type a size: 8 GB", elem_id="lesson-card",
        ),
    )  # fmt: skip


def _observe() -> ObserveParts:
    verdict = gr.HTML("", elem_id="lesson-verdict", apply_default_css=False)
    text = gr.HTML("", elem_id="lesson-observe-text", apply_default_css=False)
    told = gr.HTML("", elem_id="lesson-told", apply_default_css=False)
    chart = panel_of(EMPTY.named, ["Chart"], visible=False)
    with gr.Row(elem_id="lesson-after", elem_classes="actions"):
        again = gr.Button("Try something else", elem_id="lesson-again", scale=0, min_width=190)
        on = gr.Button("Go on", variant="primary", elem_id="lesson-on", scale=0, min_width=110)
    return ObserveParts(verdict, text, told, chart, again, on)


def _wire(parts: LessonsParts, handlers: LessonsHandlers, tab: gr.Tab, kept: gr.BrowserState) -> None:
    predict, act, observe = parts.predict, parts.act, parts.observe
    asked: list[Any] = [parts.lesson, parts.tried]
    root = gr.context.Context.root_block
    linked = root.load(handlers.linked, None, [parts.lesson], **SMALL)
    linked.then(None, None, None, js=scripts.SHOW_LESSON)
    tab.select(handlers.opened, [parts.lesson, parts.opened, parts.tried], parts.view(), **SMALL)
    parts.lesson.input(handlers.open, asked, parts.view(), **SMALL, **LAST)
    parts.reflect.following.click(handlers.following, asked, [parts.lesson, *parts.view()], **SMALL)
    gr.on(
        [predict.go.click, predict.number.submit], handlers.predict,
        [parts.lesson, predict.number, predict.choice, parts.tried, kept],
        [parts.steps, parts.tried, predict.problem, act.status], **SMALL,
    )  # fmt: skip
    acted, shown = [*asked, *act.inputs.listed()], [parts.steps, *parts.working()]
    act.show.click(handlers.show, acted, [*shown, *parts.results()], **SMALL)
    begun = act.start.click(handlers.begin, None, parts.working(), **SMALL)
    begun.then(
        handlers.run, acted, [*shown, *parts.results()], show_progress="hidden", api_visibility="private",
        **TAKES_TURNS,
    )  # fmt: skip
    act.stop.click(handlers.stop, None, parts.working(), **SMALL)
    observe.again.click(handlers.back, None, [parts.steps, act.status], **SMALL)
    observe.on.click(handlers.on, None, [parts.steps], **SMALL)
    root.unload(handlers.leave)
