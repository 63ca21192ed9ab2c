"""What the events of the tab do: one call each, its result handed to the components."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.records import Card, Plan
from quantlab.settings import AppSettings
from quantlab.teach.plan.cards import CARDS, MEMORIES
from quantlab.teach.plan.cards import card as card_of
from quantlab.teach.plan.planning import bundled
from quantlab.ui.common import fragments
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.runner import problem_of
from quantlab.ui.plan import form, view
from quantlab.ui.plan.form import NUMBERS, PlanChoice
from quantlab.ui.plan.parts import PlanParts
from quantlab.ui.services import Services

log = logging.getLogger(__name__)
Updates = dict[Any, Any]
_OUR_FAULT = Problem("It could not be planned through a fault of ours.", "The log says why.")


class PlanHandlers:
    """Bound to one page's components."""

    def __init__(self, parts: PlanParts, app: AppSettings, services: Services) -> None:
        self.parts, self.app, self.services = parts, app, services

    def plan(self, *values: Any) -> Updates:
        """All that is shown, for what is asked now."""
        choice = PlanChoice(*values)
        parts, numbers = self.parts, choice.source == NUMBERS
        shown: Updates = {
            parts.inputs.model: gr.update(visible=not numbers), parts.numbers: gr.update(visible=numbers)
        }  # fmt: skip
        try:
            return shown | {parts.problem: ""} | self._results(choice)
        except Exception as error:
            found = problem_of(error, "a plan could not be made", _OUR_FAULT)
            emptied = dict.fromkeys((parts.verdicts, parts.chart.table, parts.cards, parts.inverse, parts.trained), "")
            hidden = {parts.chart.column: gr.update(visible=False)}
            return shown | emptied | hidden | {parts.problem: fragments.problem(found)}

    def _results(self, choice: PlanChoice) -> Updates:
        parts, model, asked, card = self.parts, form.model(choice), form.asked(choice), card_of(choice.card or "")
        whole, wrong = self._planned(choice, (card, *CARDS, *MEMORIES))
        here, everywhere = view.against(whole, 0, 1), view.against(whole, 1)
        others = (*bundled(), *([model] if isinstance(model, str) and model not in bundled() else []))
        found = self.services.which_fit(others, replace(asked, precisions=()), card, self.app)
        figure, table = _drawn(here)
        return {
            parts.verdicts: view.verdicts(here),
            parts.chart.column: gr.update(visible=True),
            **parts.chart.filled((figure,), (table,)),
            parts.cards: view.cards(everywhere),
            parts.inverse: view.inverse(found, card, asked.tokens, asked.batch),
            parts.trained: fragments.problem(wrong) if wrong else view.trained(here),
        }

    def _planned(self, choice: PlanChoice, cards: Sequence[Card]) -> tuple[Plan, Problem | None]:
        """The plan with fine-tuning, or without it and why: a rank that cannot be must not take the plan with it."""
        model = form.model(choice)
        try:
            return self.services.plan(model, form.tuned(choice), cards, self.app), None
        except QuantlabError as error:
            plan = self.services.plan(model, form.asked(choice), cards, self.app)
            return plan, Problem(error.what, error.advice)

    def train(self, *values: Any) -> Updates:
        """Fine-tuning alone, where only that was changed."""
        try:
            choice = PlanChoice(*values)
            plan, wrong = self._planned(choice, (card_of(choice.card or ""),))
            return {self.parts.trained: fragments.problem(wrong) if wrong else view.trained(plan)}
        except Exception as error:
            return {self.parts.trained: fragments.problem(problem_of(error, "a plan could not be made", _OUR_FAULT))}


def _drawn(plan: Plan) -> tuple[Any, Any]:
    from quantlab.reporting.charts import planned  # plotly comes with it

    return planned.figure(plan), planned.table(plan)
