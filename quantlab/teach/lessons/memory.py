"""Lesson 3: how many bytes weights take, by the planner."""

from collections.abc import Mapping
from functools import cache

from quantlab.models.shapes import PREFIX
from quantlab.records import Plan, Planned, units
from quantlab.records.lessons import Truth
from quantlab.settings import AppSettings
from quantlab.teach.lessons.acted import PRECISIONS, Acted, checked_name
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import Asked

LARGE, SMALL = "shape:Mistral-7B-v0.3", "shape:SmolLM2-135M"
#: What stays at 16 bits.
_TABLES = ("embeddings", "output_head")


@cache
def _plan(model: str) -> Plan:
    return planning.planned(model, Asked(PRECISIONS), (), AppSettings())


def given() -> Mapping[str, str]:
    """What is told before the prediction."""
    found = _plan(LARGE)
    weights = found.weights or 0
    return {
        "weights": f"{weights / 1e9:.2f} billion",
        "tables_weights": f"{_of_tables(found.precision('bf16')) / 2 / 1e6:.0f} million",
        "sixteen": units.size(found.precision("bf16").stored_bytes),
        "eight_by_hand": units.size(weights),
        "eight": units.size(found.precision("int8").stored_bytes),
    }


@cache
def truth() -> Truth:
    """The bytes of nf4, in GB."""
    found = _plan(LARGE)
    four, weights = found.precision("nf4"), found.weights or 0
    tables = _of_tables(four)
    return Truth(
        four.stored_bytes / 1e9,
        {
            "four_by_hand": units.size(weights // 2),
            "scales": units.size(four.parts["quantization"]),
            "scale_bits": f"{8 * four.parts['quantization'] / (weights - _of_tables(found.precision('bf16')) / 2):.2f}",
            "tables": units.size(tables),
            "tables_by_hand": units.size(tables // 4),
            "bits": f"{8 * four.stored_bytes / weights:.2f}",
            "small_share": units.percent(_share(SMALL)),
            "large_share": units.percent(_share(LARGE)),
            "small_times": units.number(_times(SMALL), 2),
            "large_times": units.number(_times(LARGE), 2),
        },
        "Planned now from the model's published configuration, by the same code as Will it fit (quantlab plan).",
    )


def _of_tables(planned: Planned) -> int:
    return sum(planned.parts[part] for part in _TABLES)


def _share(model: str) -> float:
    sixteen = _plan(model).precision("bf16")
    return _of_tables(sixteen) / sixteen.stored_bytes


def _times(model: str) -> float:
    found = _plan(model)
    return found.precision("bf16").stored_bytes / found.precision("nf4").stored_bytes


def told(found: Plan) -> str:
    """What the learner chose, in sentences: its weights, and what comes on top."""
    there = [it for it in found.precisions if not it.refused]
    if not there:
        return ""
    weights = " and ".join(f"{units.size(it.stored_bytes)} at {it.precision}" for it in there)
    beside = {units.size(it.kv_cache_bytes) for it in there}
    kept = " and ".join(f"{units.size(it.kv_cache_bytes)} at {it.precision}" for it in there)
    if len(beside) == 1:
        kept = f"{beside.pop()}, whatever the precision of the weights: its numbers are not quantized"
    longer = [it.precision for it in there if it.kv_cache_bytes > it.stored_bytes]
    more = f" For so long a text that is more than the weights take at {' and '.join(longer)}." if longer else ""
    return (
        f"The weights of {found.model.removeprefix(PREFIX)} take {weights}. To remember {found.context:,} tokens (the "
        f"KV cache) it takes {kept}.{more}"
    )


def picture(acted: Acted) -> Plan:
    """What the learner chose, beside the 16 bits that it is published at. Raises BadInput."""
    model = checked_name("model", acted.planned, planning.bundled())
    precision = checked_name("precision", acted.precision, PRECISIONS)
    asked = planning.check(Asked(tuple(dict.fromkeys(("bf16", precision))), acted.context))
    return planning.planned(model, asked, (), AppSettings())
