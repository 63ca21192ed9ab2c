"""What the events of the tab Learn do: one call each, its result handed to the components."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from threading import Event as StopEvent
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError, Stopped
from quantlab.records import Comparison, ComparisonRequest
from quantlab.records.events import Done, Finished
from quantlab.records.lessons import STEPS, Lesson, Question
from quantlab.teach.lessons import judging, reading
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.lessons.observing import SHOW, Observed
from quantlab.ui.common import fragments, panels, runner
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.steps import StepHandlers, Updates, Work
from quantlab.ui.compare import form as choices
from quantlab.ui.lessons import form
from quantlab.ui.lessons import fragments as html
from quantlab.ui.lessons.parts import LessonsParts
from quantlab.ui.lessons.pictures import EMPTY, Picture, picture
from quantlab.ui.lessons.predicted import Predicted, predicted
from quantlab.ui.quiz import answering
from quantlab.ui.quiz import kept as browser

#: The predictions of one visitor by the question's id, in their order.
Tried = Mapping[str, tuple[float | str, ...]]
PREDICT, ACT, OBSERVE, REFLECT = range(len(STEPS))
OUR_FAULT = Problem("Something went wrong on our side.", "Try again, or open another lesson. The log says why.")


class LessonsHandlers(StepHandlers):
    """Bound to one page's tab."""

    parts: LessonsParts
    kind = "lesson"
    stopped = f"Stopped. The recorded result is still there: press “{form.SHOW_RECORDED}”."
    lost = "Stopped."
    failed = "a lesson's run failed"

    def linked(self, request: gr.Request) -> Updates:
        """The lesson that the page's address names; what is none changes nothing."""
        asked = request.query_params.get("lesson", "")
        found = next((it for it in reading.lessons() if str(it.number) == asked), None)
        return {self.parts.lesson: gr.update() if found is None else form.title(found)}

    def opened(self, name: str, before: str, tried: Tried) -> Updates:
        """The tab is shown: the lesson that was open stays as it is."""
        return {self.parts.opened: name} if before == name else self.open(name, tried)

    def open(self, name: str, tried: Tried) -> Updates:
        """A lesson from its first step, or the teachers' page."""
        return self._told(self.parts.predict.problem, lambda: self._open(name))

    def following(self, name: str, tried: Tried) -> Updates:
        """The lesson after this one; after the last the first."""

        def opened() -> Updates:
            found, every = form.chosen(name), reading.lessons()
            after = every[found.number % len(every)] if found else every[0]
            return self._open(form.title(after)) | {self.parts.lesson: form.title(after)}

        return self._told(self.parts.predict.problem, opened)

    def predict(self, name: str, number: str, choice: str, tried: Tried, kept: Any) -> Updates:
        """A prediction, and on to the second step. The class, where one was joined, has the first one."""

        def taken() -> Updates:
            lesson = self._lesson(name)
            question = lesson.question
            made = predicted(question, choice if question.kind == "choice" else number)
            every = {**tried, made.question: (*tried.get(made.question, ()), made.value)}
            told = self._given(question, made, kept)
            return {
                self.parts.steps: gr.Walkthrough(selected=ACT),
                self.parts.tried: every,
                self.parts.act.status: told,
            }

        return self._told(self.parts.predict.problem, taken)

    def _given(self, question: Question, made: Predicted, kept: Any) -> str:
        """Hand a prediction to the class; why it does not count there, empty where it does. The lesson goes on."""
        try:
            counted = answering.give(self.services, browser.read(kept, ()), made.question, made.value)
        except QuantlabError as error:
            return fragments.problem(answering.problem_of(error, self.app))
        if counted == made.value:
            return ""
        return fragments.said(f"Your class counts your first prediction, {judging.shown(question, counted)}.")

    def show(self, name: str, tried: Tried, *values: Any) -> Updates:
        """What is computed at once, or was recorded, and on to the third step."""

        def seen() -> Updates:
            lesson, acted = self._predicted(name, tried), form.acted(values)
            return self._observed(lesson, tried, acted, self.services.lessons.observe(lesson.number, acted))

        return self._told(self.parts.act.status, seen)

    def run(self, request: gr.Request, name: str, tried: Tried, *values: Any) -> Iterator[Updates]:
        """The lesson's run on this machine."""

        def prepare() -> Work:
            lesson, acted = self._predicted(name, tried), form.acted(values)
            asked = self.services.lessons.request(lesson.number, acted)
            choices.check_model(asked.model, self.app)
            return lambda stop: self._run(lesson, tried, acted, asked, stop)

        yield from self.follow(request, prepare)

    def back(self) -> Updates:
        """To the second step again."""
        return {self.parts.steps: gr.Walkthrough(selected=ACT), self.parts.act.status: ""}

    def on(self) -> Updates:
        """To the last step."""
        return {self.parts.steps: gr.Walkthrough(selected=REFLECT)}

    def _run(
        self, lesson: Lesson, tried: Tried, acted: Acted, asked: ComparisonRequest, stop: StopEvent
    ) -> Generator[tuple[int, int, str], None, Updates]:
        found = yield from self._compared(asked, stop)
        seen = self.services.lessons.of_run(lesson.number, found, acted)
        return self._observed(lesson, tried, acted, seen)

    def _compared(self, asked: ComparisonRequest, stop: StopEvent) -> Generator[tuple[int, int, str], None, Comparison]:
        ended, total = 0, len(asked.precisions)
        compare = self.services.unkept or self.services.compare
        with closing(compare(asked, stop=stop)) as events:
            for event in events:
                if isinstance(event, Done):
                    if stop.is_set():
                        raise Stopped
                    return event.comparison
                ended += isinstance(event, Finished)
                yield (
                    ended,
                    total,
                    f"{getattr(event, 'precision', '') or asked.model}: {ended} of {total} have answered",
                )
        raise Stopped

    def _progress(self, done: int, total: int, what: str) -> str:
        return fragments.saving(done, total, what)

    def _result(self, result: Updates) -> Updates:
        return self._shown("") | result

    def _shown(self, status: str, *, running: bool = False) -> Updates:
        act = self.parts.act
        return {
            act.start: gr.update(interactive=not running),
            act.stop: gr.update(interactive=running, visible=running),
            act.status: status,
        }

    def _stopping(self) -> Updates:
        return {self.parts.act.stop: gr.update(interactive=False), self.parts.act.status: fragments.stopping()}

    def _lesson(self, name: str) -> Lesson:
        """Raises BadInput for what is no lesson."""
        found = form.chosen(name)
        if found is None:
            raise BadInput("No lesson is open.", "Choose one of the six.")
        return found

    def _predicted(self, name: str, tried: Tried) -> Lesson:
        """The lesson, which something was predicted for. Raises BadInput."""
        found = self._lesson(name)
        if not (tried or {}).get(found.question.id):
            raise BadInput("There is no prediction yet.", "Go back to the first step: what is true is shown after it.")
        return found

    def _open(self, name: str) -> Updates:
        lesson, parts = form.chosen(name), self.parts
        shown = {parts.opened: name, parts.teacher: gr.update(value="", visible=False)}
        if lesson is None:
            page = gr.update(value=html.teacher(self.app.class_codes, self.app.classroom_bytes), visible=True)
            return {parts.opened: name, parts.teacher: page, parts.head: "", parts.steps: gr.Walkthrough(visible=False)}
        facts, question = self.services.lessons.given(lesson.number), lesson.question
        asked, number = reading.asked(question, facts), question.kind == "number"
        info = judging.range_of(question) if number else None
        choice = gr.update(visible=not number, label=asked, choices=list(question.choices), value=None)
        return shown | self._empty() | self._controls(lesson.number) | {
            parts.head: html.head(lesson),
            parts.steps: gr.Walkthrough(selected=PREDICT, visible=True),
            parts.predict.text: html.text(lesson.texts["predict"], facts),
            parts.predict.number: gr.update(visible=number, label=asked, info=info, value=""),
            parts.predict.choice: choice,
            parts.act.text: html.text(lesson.texts["act"], facts),
        }  # fmt: skip

    def _empty(self) -> Updates:
        """Nothing of another lesson is left."""
        seen = self.parts.observe
        return self._drawn(EMPTY) | {seen.verdict: "", seen.text: "", self.parts.reflect.text: ""}

    def _controls(self, number: int) -> Updates:
        """The lesson's own controls, and which buttons it has."""
        act, own, fresh = self.parts.act, form.CONTROLS[number], Acted()
        shown: Updates = {}
        for field in fields(Acted):
            value = form.PROMPTS.get(number, fresh.prompt) if field.name == "prompt" else getattr(fresh, field.name)
            shown[getattr(act.inputs, field.name)] = gr.update(visible=field.name in own, value=value)
        live = self.services.lessons.runs(number)
        return shown | {
            act.show: gr.update(value=form.SHOW_RECORDED if live else SHOW),
            act.start: gr.update(visible=live, interactive=True),
            act.stop: gr.update(visible=False),
            act.status: "",
        }

    def _observed(self, lesson: Lesson, tried: Tried, acted: Acted, found: Observed) -> Updates:
        parts, question = self.parts, lesson.question
        drawn = self._drawn(picture(lesson.number, found.record, acted))
        onward = {parts.steps: gr.Walkthrough(selected=OBSERVE)}
        if found.truth is None:
            # Without the truth there is nothing to fill its sentences with.
            return drawn | onward | {
                parts.observe.verdict: html.missing(found.missing), parts.observe.text: "", parts.reflect.text: ""
            }  # fmt: skip
        *before, last = tried[question.id]
        facts = {**self.services.lessons.given(lesson.number), **found.truth.facts}
        judged = judging.judged(question, last, found.truth)
        return drawn | onward | {
            parts.observe.verdict: html.verdict(question, judged, found.truth, before),
            parts.observe.text: html.text(lesson.texts["observe"], facts),
            parts.reflect.text: html.reflect(lesson, facts),
        }  # fmt: skip

    def _drawn(self, made: Picture) -> Updates:
        seen, chart = self.parts.observe, self.parts.observe.chart
        return {
            seen.told: made.told,
            seen.chart.head: panels.head(made.named) if made.figure is not None else "",
            chart.column: gr.update(visible=made.figure is not None),
            **chart.filled((made.figure,), tuple(made.tables)),
        }

    def _told(self, place: gr.HTML, work: Callable[[], Updates]) -> Updates:
        """What `work` gives; what a user can mend goes to `place`, and a defect as no more than that."""
        try:
            return {place: ""} | work()
        except Exception as error:  # a card on the page; of a defect the log has the traceback
            return {place: fragments.problem(runner.problem_of(error, "the tab Learn failed", OUR_FAULT))}
