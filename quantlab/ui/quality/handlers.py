"""What the events of the quality tab do: one call each, its result handed to the components."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.fidelity import texts
from quantlab.records import Quality
from quantlab.reporting import advice
from quantlab.reporting.advice.recipes import recipes
from quantlab.reporting.advice.sources import context
from quantlab.reporting.charts.registry import QUALITY
from quantlab.ui.common import fragments, models, runner
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.running import RunHandlers
from quantlab.ui.quality import form as choices
from quantlab.ui.quality import fragments as html
from quantlab.ui.quality import runner as quality_runner
from quantlab.ui.quality import table
from quantlab.ui.quality.form import FILE, PASTE, QualityChoice, Taken
from quantlab.ui.quality.inputs import source_info, suiting_tasks
from quantlab.ui.quality.view import QualityView, Variant

if TYPE_CHECKING:
    from quantlab.ui.quality.parts import QualityParts

log = logging.getLogger(__name__)
Updates = dict[Any, Any]


class QualityHandlers(RunHandlers):
    """Bound to one page's components. Which session measures what is kept in `StopEvents`."""

    parts: QualityParts
    form, choice = choices, QualityChoice

    def source(self, source: str) -> Updates:
        """Show what the chosen text needs: a box to paste into, or a place to upload to."""
        inputs = self.parts.inputs
        return {
            inputs.source: gr.update(info=source_info(str(source))),
            inputs.pasted: gr.update(visible=source == PASTE),
            inputs.file: gr.update(visible=source == FILE),
        }

    def _suited(self, model: str, asked: Any) -> Updates:
        """A bundled text and the bundled tasks follow the model; what a visitor brought, or WikiText-2, stays."""
        if asked is None:
            return {}
        inputs, fitting = self.parts.inputs, texts.suiting(model, self.app)
        offered = suiting_tasks(model, self.app, self.services.no_tasks())
        follows = gr.update(value=fitting, info=source_info(fitting, suits=True))
        return {
            inputs.tasks: gr.update(**offered) if offered["choices"] else gr.update(**offered, value=[]),
            inputs.source: follows if asked in texts.BUNDLED else gr.skip(),
        }

    def take_over(
        self, model: str, ticked: list[str], offered: PrecisionList, dtype: str, source: str, taken: Taken | None
    ) -> Updates:
        """What is chosen on the tab for prompts is chosen here too, once: what is changed here then stays."""
        name = str(model or "").strip()
        now = Taken(name, tuple(ticked), offered.specs, dtype, offered.room)
        known = self.services.choices()
        if now == taken or not name or models.kind_of(name, known) == "shape":
            return {self.parts.taken: gr.skip()}
        inputs = self.parts.inputs
        own = {self.parts.taken: now, inputs.model: name, inputs.compute_dtype: dtype}
        held = self._card_shown(offered, dtype, offered.room.card.name if offered.room else "")
        return self._shown(name, offered, list(ticked)) | self._suited(name, source) | held | own

    def advise(self, quality: Quality | None, bound: float | None, megabytes: float | None) -> str:
        """The recommendation for a bound and a memory limit, from figures that are there."""
        if quality is None:
            return ""
        if bound is None or not bound > 0:
            return html.no_advice("Type a bound larger than zero.")
        if not (megabytes or 0) >= 0:
            return html.no_advice("Type a memory limit, or 0 for none.")
        try:
            found = advice.advise(quality, float(bound), round(megabytes * 1e6) if megabytes else None)
            elsewhere = recipes(quality, found, context(quality.model), private=self.app.public)
            return html.advice(found) + html.to_run(elsewhere)
        except Exception:
            log.exception("no recommendation could be made")
            return html.no_advice("The recommendation could not be made through a fault of ours. The log says why.")

    def pick(self, index: int) -> Callable[[Quality | None, str | None], Updates]:
        """The handler of one chart's choice."""

        def redraw(quality: Quality | None, picked: str | None) -> Updates:
            chart, panel = QUALITY[index], self.parts.panels[index]
            if quality is None or picked not in chart.options(quality):
                return {panel.plots[0]: gr.skip()}
            return panel.filled(*chart.drawn(quality, picked))

        return redraw

    def _cleared(self) -> Updates:
        parts = self.parts
        return {parts.status: fragments.waiting(), parts.progress: "", parts.advised: gr.update(visible=False)}

    def _waiting(self, choice: QualityChoice) -> Updates:
        view = QualityView(tuple(map(Variant, choice.columns)), tasks=choice.all_tasks)
        return {self.parts.empty: gr.update(visible=False), self.parts.table: table.render(view)}

    def _view(self, problem: Problem | None = None) -> QualityView:
        return QualityView(problem=problem)

    def _views(
        self, choice: QualityChoice, stop: threading.Event, queueing: runner.Queueing
    ) -> Generator[QualityView, None, None]:
        return quality_runner.views(choice, self.app, self.services, stop, queueing)

    def _progress(
        self, view: QualityView, choice: QualityChoice, shown: dict[Any, str], running: bool = True
    ) -> Updates:
        """Updates for what differs from what was shown last."""
        parts = self.parts
        updates = {
            parts.status: html.status(view, running=running),
            parts.progress: html.progress(view) if running else "",
        }
        if view.variants:
            updates[parts.table] = table.render(view)
        fresh = {part: text for part, text in updates.items() if shown.get(part) != text}
        shown.update(fresh)
        if view.variants and shown.get(parts.empty) != "hidden":
            shown[parts.empty] = "hidden"
            fresh[parts.empty] = gr.update(visible=False)
        return fresh

    def _ended(self, view: QualityView, choice: QualityChoice, shown: dict[Any, str]) -> Updates:
        parts = self.parts
        updates = self._progress(view, choice, shown, running=False) | {
            parts.start: gr.update(interactive=True),
            parts.stop: gr.update(interactive=False),
            parts.problem: fragments.problem(view.problem),
            parts.quality: view.quality,
        }
        return updates if view.variants else updates | {parts.table: "", parts.empty: gr.update(visible=True)}

    def _results(self, view: QualityView) -> Updates:
        """The recommendation and the charts, of a run that compared anything."""
        parts, quality = self.parts, view.quality
        if quality is None or not any(chart.has(quality) for chart in QUALITY):
            return {parts.advised: gr.update(visible=False), parts.charts: gr.update(visible=False)}
        updates: Updates = {parts.advised: gr.update(visible=True), parts.charts: gr.update(visible=True)}
        for chart, panel in zip(QUALITY, parts.panels, strict=True):
            has = chart.has(quality)
            updates[panel.column] = gr.update(visible=has)
            if has:
                options = chart.options(quality)
                updates |= panel.filled(*chart.drawn(quality, options[-1] if options else ""))
                updates |= {panel.pick: gr.update(choices=list(options), value=options[-1])} if chart.pick else {}
        return updates
