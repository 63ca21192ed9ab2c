"""Plans as plain data for JSON: the records' fields, and what follows from them."""

from collections.abc import Sequence
from typing import Any

from quantlab.export.codec import plain
from quantlab.records import Card, Fit, Plan, Planned, Suited


def plan_data(plan: Plan) -> dict[str, Any]:
    """`quantlab.plan/1`; what each field is says docs/measurement.md (Will it fit)."""
    trained = plan.finetuned
    return {
        "schema": "quantlab.plan/1",
        **plain(plan),
        "precisions": [_planned(each) for each in plan.precisions],
        "finetuned": trained
        and {**plain(trained), "total_bytes": trained.total_bytes, "fits": [_fit(it) for it in trained.fits]},
    }


def suited_data(found: Sequence[Suited], card: Card, context: int, batch: int) -> dict[str, Any]:
    """`quantlab.which-fit/1`."""
    models = [{**plain(each), "planned": each.planned and _planned(each.planned)} for each in found]
    return {"schema": "quantlab.which-fit/1", "card": plain(card), "context": context, "batch": batch, "models": models}


def _planned(planned: Planned) -> dict[str, Any]:
    if planned.refused:
        return {"precision": planned.precision, "bits": planned.bits, "refused": planned.refused}
    sums = {"stored_bytes": planned.stored_bytes, "total_bytes": planned.total_bytes}
    return {**plain(planned), **sums, "fits": [_fit(it) for it in planned.fits]}


def _fit(fit: Fit) -> dict[str, Any]:
    return {**plain(fit), "fits": fit.fits, "left": fit.left, "outside": fit.outside}
