"""What Compare and Quality share of a run: the click's answer at once, then what changes, until it ends."""

import threading
from abc import abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.rail import RailHandlers

Updates = dict[Any, Any]


class RunHandlers(RailHandlers):
    """Of a tab that runs what is chosen: its `parts` have `start`, `stop`, `status`, `problem` and `charts` besides.

    `form` is the module that reads and checks the inputs, `choice` the class of what it reads.
    """

    form: Any
    choice: type

    def begin(self, request: gr.Request, *values: Any) -> Updates:
        """The click's answer at once: buttons and what waits, before its turn has come."""
        self.stops.begin(runner.session(request))
        parts = self.parts
        updates = self._cleared() | {
            parts.start: gr.update(interactive=False),
            parts.stop: gr.update(interactive=True),
            parts.problem: "",
            parts.charts: gr.update(visible=False),
        }
        try:
            choice = self.form.from_inputs(*values)
            self.form.check(choice, self.app)
            return updates | self._waiting(choice)
        except QuantlabError as error:
            # run() meets it again, before it asks for its turn.
            return updates | {parts.problem: fragments.problem(Problem(error.what, error.advice))}

    def run(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Run what is chosen when its turn has come; yield what changed. Ends the run when the visitor leaves."""
        shown: dict[Any, str] = {}
        view, parts, queueing = self._view(), self.parts, self.queueing(request)
        with self.running(request) as stop:
            try:
                choice = self.form.from_inputs(*values)
                if problem := self._nothing_to_tick(choice):
                    yield self._ended(self._view(problem), choice, shown)
                    return
                yield {parts.stop: gr.update(interactive=True), parts.start: gr.update(interactive=False)}
                with closing(self._views(choice, stop, queueing)) as views:
                    for view in views:
                        if self.stops.replaced(stop):
                            continue
                        yield self._changed(view, choice, shown) or {parts.status: gr.skip()}
                if self.stops.replaced(stop):
                    return
                # Whole, with what was sent before: the last update is all that a client of the API gets.
                called_off = {parts.status: fragments.left_queue()} if view.left else {}
                yield self._ended(view, choice, {}) | self._results(view) | called_off
            except BadInput as error:
                yield self._ended(self._view(Problem(error.what, error.advice)), self.choice(), shown)

    def _changed(self, view: Any, choice: Any, shown: dict[Any, str]) -> Updates:
        if view.place is not None:
            return {self.parts.status: fragments.waiting(view.place)}
        return (self._ended if view.over else self._progress)(view, choice, shown)

    @abstractmethod
    def _cleared(self) -> Updates:
        """What a click takes away, and that the run waits for its place."""

    @abstractmethod
    def _waiting(self, choice: Any) -> Updates:
        """What is there of a run before it begins. Raises QuantlabError where the choice cannot be."""

    @abstractmethod
    def _view(self, problem: Problem | None = None) -> Any:
        """A view of nothing, or of what went wrong."""

    @abstractmethod
    def _views(self, choice: Any, stop: threading.Event, queueing: runner.Queueing) -> Generator[Any, None, None]:
        """The views of the run, as `runner.watched` gives them."""

    @abstractmethod
    def _progress(self, view: Any, choice: Any, shown: dict[Any, str]) -> Updates:
        """What differs from what was shown last."""

    @abstractmethod
    def _ended(self, view: Any, choice: Any, shown: dict[Any, str]) -> Updates:
        """The same once nothing more comes, with the buttons as they were."""

    @abstractmethod
    def _results(self, view: Any) -> Updates:
        """The charts, and what else follows from a whole run."""
