"""What the events of the tab do: one call each, its result handed to the components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.records.inside import Inside, Outliers
from quantlab.settings import AppSettings
from quantlab.ui.common import fragments, panels, runner
from quantlab.ui.common.problem import Problem
from quantlab.ui.inside import form
from quantlab.ui.inside import fragments as html
from quantlab.ui.inside.form import InsideChoice
from quantlab.ui.services import Services
from quantlab.ui.turns.taking import visitor
from quantlab.ui.turns.turns import LeftQueue

if TYPE_CHECKING:
    from quantlab.ui.inside.parts import InsideParts

Updates = dict[Any, Any]
OUR_FAULT = Problem("Something went wrong on our side.", "Choose another layer or method. The log says why.")


class InsideHandlers:
    """Bound to one page's components. Nothing is kept of a visitor: each event computes what it shows."""

    def __init__(self, parts: InsideParts, app: AppSettings, services: Services) -> None:
        self.parts = parts
        self.app = app
        self.services = services

    def opened(self, *chosen: Any) -> Updates:
        """The tab is shown: the layers of the model where none is chosen yet, and what is chosen of them."""
        choice = InsideChoice(*chosen)
        return self._of_model(choice) if not choice.layer and choice.source == form.LAYER else self._looked(choice)

    def model(self, *chosen: Any) -> Updates:
        """Another model: its layers, and the first of them."""
        return self._of_model(InsideChoice(*chosen))

    def moved(self, *chosen: Any) -> Updates:
        """Another layer or another length of a block: the first block of it."""
        first = {self.parts.inputs.block: 0} | self._without_channels()
        return first | self._looked(replace(InsideChoice(*chosen), block=0))

    def look(self, *chosen: Any) -> Updates:
        """What becomes of the numbers, but for the table of all methods, which takes longer."""
        return self._looked(InsideChoice(*chosen))

    def methods(self, *chosen: Any) -> Updates:
        """All methods on the same numbers. What cannot be has been told already."""

        def compared() -> Updates:
            from quantlab.reporting.charts import inside as charts

            found = self.services.inside.look(form.request(InsideChoice(*chosen)), True)
            table = panels.twins((charts.methods(found),))
            return {self.parts.methods: table, self.parts.saves: html.saves(found)}

        nothing = {self.parts.methods: "", self.parts.saves: ""}
        return nothing | self._with_problem(self.parts.saves, compared, told=False)

    def read(self, request: gr.Request, *chosen: Any) -> Iterator[Updates]:
        """A text is read, and the channels shown at the model's own spread."""
        yield from self._in_turn(request, lambda: self._channels(InsideChoice(*chosen), None))

    def spread(self, request: gr.Request, sigma: float | None, *chosen: Any) -> Iterator[Updates]:
        """The same activations at another spread."""
        yield from self._in_turn(request, lambda: self._channels(InsideChoice(*chosen), sigma))

    def _in_turn(self, request: gr.Request, work: Callable[[], Updates]) -> Iterator[Updates]:
        """What `work` gives when its turn has come, and until then the place."""
        who, told = visitor(request), self.parts.outlier_problem
        try:
            with self.services.turns.enter(who.name, "inside") as turn:
                for place in turn.places(Event(), who.gone):
                    yield {told: fragments.waiting(place)}
                yield work()
        except LeftQueue:
            return
        except QuantlabError as error:  # it is full
            yield {told: fragments.problem(Problem(error.what, error.advice))}

    def _channels(self, choice: InsideChoice, sigma: Any) -> Updates:
        def seen() -> Updates:
            if sigma is not None and not isinstance(sigma, int | float):
                raise BadInput("The spread must be a number.", "Move the slider.")
            asked = form.request(choice)
            return self._shown(self.services.inside.outliers(asked, sigma), asked.precision, sigma is None)

        hidden = {} if sigma is not None else {self.parts.outlying: gr.update(visible=False)}
        return hidden | self._with_problem(self.parts.outlier_problem, seen)

    def _shown(self, found: Outliers, precision: str, own: bool) -> Updates:
        from quantlab.reporting.charts import outliers as charts

        parts = self.parts
        drawn = (charts.channels(found), charts.losses(found)), charts.table(found)
        slider = {parts.sigma: gr.update(value=round(found.sigma, 2))} if own else {}
        return slider | {
            parts.outlying: gr.update(visible=True),
            parts.channels: html.channels(found),
            **parts.channels_chart.filled(*drawn),
            parts.product: html.product(found, precision),
        }

    def _of_model(self, choice: InsideChoice) -> Updates:
        def seen() -> Updates:
            layers = self.services.inside.layers(str(choice.model or "").strip())
            listed = {
                self.parts.inputs.layer: gr.update(choices=list(layers), value=layers[0]),
                self.parts.inputs.block: 0,
            }
            return self._seen(replace(choice, layer=layers[0], block=0)) | listed

        return self._forms(choice) | self._without_channels() | self._with_problem(self.parts.problem, seen)

    def _looked(self, choice: InsideChoice) -> Updates:
        hidden = self._without_channels() if choice.source == form.TYPED else {}
        return self._forms(choice) | hidden | self._with_problem(self.parts.problem, lambda: self._seen(choice))

    def _without_channels(self) -> Updates:
        """What was read of another layer is not left under this one."""
        return {self.parts.outlying: gr.update(visible=False)}

    def _forms(self, choice: InsideChoice) -> Updates:
        """Which inputs there are follows from two of them."""
        parts, typed = self.parts, choice.source == form.TYPED
        return {
            parts.of_model: gr.update(visible=not typed),
            parts.inputs.values: gr.update(visible=typed),
            parts.of_integers: gr.update(visible=choice.grid == form.PLAIN),
        }

    def _seen(self, choice: InsideChoice) -> Updates:
        found = self.services.inside.look(form.request(choice), False)
        return self._filled(found)

    def _filled(self, found: Inside) -> Updates:
        from quantlab.reporting.charts import inside as charts

        parts = self.parts
        return {
            parts.told: html.told(found),
            **parts.chart.filled((charts.figure(found),), charts.table(found)),
            parts.values: panels.twins((charts.values(found),)),
            parts.cost: html.cost(found),
        }

    def _with_problem(self, place: gr.HTML, work: Callable[[], Updates], told: bool = True) -> Updates:
        """What `work` gives; what a user can mend goes to `place`, and a defect as no more than that."""
        try:
            return {place: ""} | work()
        except Exception as error:
            found = runner.problem_of(error, "the tab Inside failed", OUR_FAULT)
            return {place: fragments.problem(found) if told else ""}
