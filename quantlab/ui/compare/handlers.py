"""What the events of the first tab do: one call each, its result handed to the components."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.records import Comparison
from quantlab.reporting.charts.registry import COMPARISON
from quantlab.settings import AppSettings
from quantlab.ui.common import card, exports, fragments, models, picker, precision_list, runner
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.running import RunHandlers
from quantlab.ui.compare import column, link, share
from quantlab.ui.compare import form as choices
from quantlab.ui.compare import runner as compare_runner
from quantlab.ui.compare.form import Choice
from quantlab.ui.compare.view import Column, View
from quantlab.ui.services import Services

if TYPE_CHECKING:
    from quantlab.ui.compare.parts import Parts

Updates = dict[Any, Any]


class Handlers(RunHandlers):
    """Bound to one page's components. Which session runs what is kept in `StopEvents`; nothing else is."""

    parts: Parts
    form, choice = choices, Choice

    def __init__(self, parts: Parts, app: AppSettings, services: Services) -> None:
        super().__init__(parts, app, services)
        self._exports = exports.Exports()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        super().leave(request)
        self._exports.forget(runner.session(request))

    def link(self, *values: Any) -> Updates:
        """The query that restores the choice."""
        try:
            choice = choices.from_inputs(*values)
            query = share.to_query(choice)
        except QuantlabError as error:
            return {self.parts.link: "", self.parts.status: fragments.said(str(error))}
        return {self.parts.link: query, self.parts.status: fragments.link_copied(share.left_out(choice))}

    def export(self, index: int) -> Callable[..., Updates]:
        """The handler of one format's button: writes the file, which the browser then fetches."""
        form = exports.FORMATS[index]

        def export(request: gr.Request, comparison: Comparison | None) -> Updates:
            if comparison is None:
                return {self.parts.file: None}
            try:
                folder = Path(self.parts.file.GRADIO_CACHE)
                made = self._exports.write(runner.session(request), comparison, form, folder)
            except Exception as error:
                problem = runner.problem_of(error, "a comparison could not be exported")
                return {self.parts.file: None, self.parts.problem: fragments.problem(problem)}
            return {self.parts.file: str(made), self.parts.status: fragments.said(f"Downloading {made.name}.")}

        return export

    def code(self, comparison: Comparison | None, ticked: list[str] | None) -> Updates:
        """The comparison as a program, to copy and to read."""
        from quantlab.reporting.code import as_asked, code

        if comparison is None:
            return {self.parts.code: ""}
        program = code(comparison, as_asked(comparison, ticked or ()), private=self.app.public)
        return {
            self.parts.code: program,
            self.parts.code_shown: fragments.program(program),
            self.parts.status: fragments.said("Code copied: the same comparison without quantlab."),
        }

    def example(self, index: int) -> Callable[[str], str]:
        """The handler of one example button."""

        def fill(model: str) -> str:
            return models.examples(str(model or ""), self.services.choices())[index][1]

        return fill

    def race(self, on: bool) -> Any:
        return gr.update(visible=bool(on))

    def ask(self, model: str, ticked: list[str], offered: PrecisionList, dtype: str, prompt: str) -> Updates:
        """What was measured is asked: the model and its ticks of the tab for quality are chosen here."""
        name, inputs = str(model or "").strip(), self.parts.inputs
        own = models.prompt_for(name, prompt, self.services.choices())
        held = self._card_shown(offered, dtype, offered.room.card.name if offered.room else "")
        return (
            self._chosen(name, offered, ticked)
            | held
            | {
                inputs.model: name,
                inputs.compute_dtype: dtype,
                inputs.prompt: own,
            }
        )

    def restore(self, request: gr.Request, kept: Any = None) -> Updates:
        """The choice that the page's address holds; the default where it holds none.

        What can run is looked up anew: a package may have come since the page was built.
        """
        known = self.services.choices()
        first = models.start_model(known)
        default = Choice(first, prompt=models.examples(first, known)[0][1])
        typed, context, room = card.remembered(kept)
        held = self.parts.my_card
        query = dict(request.query_params)
        if not set(query) & set(choices.FIELDS):
            found, problem = self._listed_for(default.model, choices.placement(default, self.app), (), room)
            # The ticks stay as they are: by now the visitor may have changed them.
            return {
                self.parts.offered: found,
                self.parts.inputs.precisions: gr.update(rows=picker.rows(found)),
                self.parts.problem: fragments.problem(problem),
                held.card: typed,
                held.context: context,
                held.said: card.said(found, choices.placement(default, self.app)),
            }
        choice = share.from_query(query, default, self.app)
        added = tuple(filter(precision_list.is_added, choice.precisions))
        found, problem = self._listed_for(choice.model, choices.placement(choice, self.app), added, room)
        updates = dict(zip(self.parts.inputs.listed(), astuple(choice), strict=True))
        updates |= self._chosen(choice.model, found, choice.precisions)
        updates |= self._card_shown(found, choice.compute_dtype, typed) | {held.context: context}
        reference = choice.reference if choice.reference in found.names else choices.MOST_PRECISE
        updates[self.parts.inputs.reference] = gr.update(choices=[choices.MOST_PRECISE, *found.names], value=reference)
        ticked = updates[self.parts.inputs.precisions]["value"]
        problem = link.joined(link.left_out(query, choice, found, ticked, self.app), problem)
        return updates | {self.parts.problem: fragments.problem(problem)}

    def _suited(self, model: str, asked: Any) -> Updates:
        """A prompt that is an example of another kind of model becomes one of this kind's."""
        own = None if asked is None else models.prompt_for(model, asked, self.services.choices())
        return {} if own == asked else {self.parts.inputs.prompt: own}

    def _shown(self, model: str, found: PrecisionList, ticked: list[str]) -> Updates:
        examples = zip(self.parts.examples, models.examples(model, self.services.choices()), strict=True)
        return super()._shown(model, found, ticked) | {
            button: gr.update(value=label) for button, (label, _) in examples
        }

    def _cleared(self) -> Updates:
        return {self.parts.status: fragments.waiting()}

    def _waiting(self, choice: Choice) -> Updates:
        view = View(tuple(map(Column, choice.columns)), model=models.before_it_is_found(choice.model))
        return self._columns(view, choice, {}) | {
            self.parts.verdict: fragments.verdict(view),
            self.parts.legend: fragments.legend(view),
            self.parts.tokens: fragments.prompt_tokens(view),
            self.parts.code_shown: "",
            self.parts.link: share.to_query(choice),
        }

    def _view(self, problem: Problem | None = None) -> View:
        return View(problem=problem)

    def _views(self, choice: Choice, stop: threading.Event, queueing: runner.Queueing) -> Generator[View, None, None]:
        return compare_runner.views(choice, self.app, self.services, stop, queueing)

    def _progress(self, view: View, choice: Choice, shown: dict[Any, str]) -> Updates:
        """Updates for what differs from what was shown last."""
        updates = {
            self.parts.status: fragments.status(view, running=True),
            self.parts.verdict: fragments.verdict(view),
            self.parts.tokens: fragments.prompt_tokens(view),
            self.parts.legend: fragments.legend(view),
        }
        fresh = {part: html for part, html in updates.items() if shown.get(part) != html}
        shown.update(fresh)
        return fresh | (self._columns(view, choice, shown) if view.columns else {})

    def _columns(self, view: View, choice: Choice, shown: dict[Any, str]) -> Updates:
        from quantlab.reporting.charts import style

        updates: Updates = (
            {} if shown.get(self.parts.empty) == "hidden" else {self.parts.empty: gr.update(visible=False)}
        )
        shown[self.parts.empty] = "hidden"
        for index, part in enumerate(self.parts.columns):
            html = ""
            if index < len(view.columns):
                one = view.columns[index]
                colour = style.colour(one.precision)
                html = column.render(one, view, colour=colour, new_tokens=choice.max_new_tokens)
            if shown.get(part) != html:
                updates[part] = html
                shown[part] = html
        return updates

    def _ended(self, view: View, choice: Choice, shown: dict[Any, str]) -> Updates:
        updates = self._progress(view, choice, shown)
        updates |= {
            self.parts.start: gr.update(interactive=True),
            self.parts.stop: gr.update(interactive=False),
            self.parts.status: fragments.status(view, running=False),
            self.parts.problem: fragments.problem(view.problem),
            self.parts.comparison: view.comparison,
        }
        if not view.columns:
            updates |= {part: "" for part in self.parts.columns}
            updates[self.parts.empty] = gr.update(visible=True)
        return updates

    def _results(self, view: View) -> Updates:
        """The charts of a comparison that has anything to draw."""
        comparison = view.comparison
        if comparison is None or all(run.load is None or run.error for run in comparison.runs):
            return {self.parts.charts: gr.update(visible=False)}
        updates: Updates = {self.parts.charts: gr.update(visible=True)}
        for chart, panel in zip(COMPARISON, self.parts.panels, strict=True):
            updates[panel.column] = gr.update(visible=chart.has(comparison))
            if not chart.has(comparison):
                continue
            updates |= panel.filled(*chart.drawn(comparison))
        return updates
