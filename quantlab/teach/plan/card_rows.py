"""The estimates of a model's precisions held against one card, by the arithmetic of the plan."""

from collections.abc import Sequence
from dataclasses import replace

from quantlab.records import Card, Estimate, Plan

#: What a card computes in unless another type is asked for: not this machine's default, which may lack it.
COMPUTE_DTYPE = "bfloat16"


def on_card(offered: Sequence[Estimate], card: Card, plan: Plan | None) -> tuple[Estimate, ...]:
    """The same with what each takes on the card, keys, values and activations included.

    `plan` None, or one without the precision: what it would take is not known.
    """
    there = {} if plan is None else {it.precision: it.total_bytes for it in plan.precisions if not it.refused}
    return tuple(
        replace(each, free_bytes=card.nbytes, crowded="", card=card.name, needed_bytes=there.get(each.precision.name))
        for each in offered
    )


def planned_names(offered: Sequence[Estimate]) -> tuple[str, ...]:
    """The precisions that a plan can be made of: those that the model can have."""
    return tuple(it.precision.name for it in offered if it.estimated_bytes is not None)
