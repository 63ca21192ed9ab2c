"""Lesson 6: what fits a machine, by the planner."""

from collections.abc import Mapping
from functools import cache

from quantlab.records import Card, Plan, Suited, units
from quantlab.records.lessons import Truth
from quantlab.settings import AppSettings
from quantlab.teach.lessons.acted import PRECISIONS, Acted
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import Asked
from quantlab.teach.plan.cards import card

MODEL, CARD = "shape:Llama-3.1-8B", "RTX 3060"
#: The answers to choose from, by precision; see the lesson's question.
ANSWERS = {"fp32": "fp32 (32 bits)", "bf16": "bf16 (16 bits)", "int8": "int8 (8 bits)", "nf4": "nf4 (4 bits)"}
NONE = "none of them"


@cache
def _plan() -> Plan:
    return planning.planned(MODEL, Asked(PRECISIONS), (card(CARD),), AppSettings())


def given() -> Mapping[str, str]:
    """What is told before the prediction."""
    found = _plan()
    return {
        "weights": f"{(found.weights or 0) / 1e9:.2f} billion",
        "card": units.size(card(CARD).nbytes),
        "context": f"{found.context:,}",
    }


@cache
def truth() -> Truth:
    """The first of the answers, from the most bits down, that fits."""
    found = _plan()
    facts: dict[str, str] = {}
    for planned in found.precisions:
        fit = planned.fits[0]
        facts |= {
            f"{planned.precision}_weights": units.size(planned.stored_bytes),
            f"{planned.precision}_total": units.size(planned.total_bytes),
            f"{planned.precision}_fits": "yes" if fit.fits else f"no, {units.size(fit.outside)} too much",
        }
    best = next((ANSWERS[it.precision] for it in found.precisions if it.fits[0].fits), NONE)
    facts["best"] = best
    return Truth(
        best,
        facts,
        "Planned now, by the same code as Will it fit (quantlab plan). What the driver takes is not counted.",
    )


def picture(acted: Acted) -> tuple[Card, tuple[Suited, ...]]:
    """For each bundled model what the learner's card can hold of it. Raises BadInput."""
    chosen = card(acted.card)
    asked = planning.check(Asked(PRECISIONS, acted.context))
    return chosen, planning.suited(planning.bundled(), asked, chosen, AppSettings())
