"""At the foot of the rail of Compare: the usual pitfalls, looked for on this machine and in the chosen model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG, Pitfall
from quantlab.reporting.templates import Pieces
from quantlab.settings import AppSettings
from quantlab.ui.common import fragments
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.runner import problem_of
from quantlab.ui.compare.form import check_model
from quantlab.ui.services import Services

_HTML = Pieces("ui/compare/check.html")
_OUR_FAULT = Problem("It could not be looked at through a fault of ours.", "The log says why.")
#: Worst first, each with a sign, so that nothing is told by colour alone.
_SIGNS = {WRONG: "✕", CARE: "⚠", UNSEEN: "–", FINE: "✓"}
_ORDER = tuple(_SIGNS)


@dataclass(frozen=True)
class CheckPanel:
    """Its components."""

    start: gr.Button
    found: gr.HTML


def build() -> CheckPanel:
    """Make it inside the current column."""
    with gr.Row(elem_id="check", elem_classes="check"):
        start = gr.Button("Check this machine and model", size="sm", scale=0, min_width=220, elem_id="check-start")
        gr.HTML(_HTML.about(), elem_id="check-about", apply_default_css=False)
    return CheckPanel(start, gr.HTML("", elem_id="check-found", apply_default_css=False))


def wire(panel: CheckPanel, model: gr.components.Component, app: AppSettings, services: Services) -> None:
    """A click looks at what is chosen then; while it works, the words say so."""

    def check(name: str) -> Iterator[dict[Any, Any]]:
        name = str(name or "").strip()
        yield {panel.start: gr.update(interactive=False), panel.found: _HTML.working(name)}
        yield {panel.start: gr.update(interactive=True), panel.found: looked_at(name, app, services)}

    panel.start.click(
        check, model, [panel.start, panel.found], show_progress="hidden", concurrency_limit=2, api_visibility="private"
    )


def looked_at(name: str, app: AppSettings, services: Services) -> str:
    """What is found of a model and this machine, as HTML; why not, where that fails."""
    try:
        check_model(name, app)
        return render(name, services.diagnose(name, app.device or "auto", app))
    except Exception as error:  # a card on the page; of a defect the log has the traceback
        return fragments.problem(problem_of(error, "pitfalls could not be looked for", _OUR_FAULT))


def render(model: str, found: Sequence[Pitfall]) -> str:
    """Each pitfall: its state in words, what was seen, what it does, what to change, and the line of code."""
    worst_first = sorted(found, key=lambda it: _ORDER.index(it.state))
    counts = [(state, sum(it.state == state for it in found)) for state in _ORDER]
    told = ", ".join(f"{count} {state}" for state, count in counts if count)
    rows = [(it.state.replace(" ", "-"), _SIGNS[it.state], it) for it in worst_first]
    return _HTML.found(model, told, rows)
