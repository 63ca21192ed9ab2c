"""Lesson 1: what 32 bits have that 16 have not, by a comparison and by the demo model's own weights."""

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from quantlab.errors import BadInput
from quantlab.records import Comparison, ComparisonRequest, Placement, Run, Settings, units
from quantlab.records.lessons import Truth
from quantlab.teach.lessons.acted import PROMPT, Acted, checked_prompt

if TYPE_CHECKING:
    import torch

WIDE, NARROW = "fp32", "bf16"
TOKENS = 48
#: A number of lesson 2, rounded by hand.
_TYPED = 0.1872


def request(acted: Acted) -> ComparisonRequest:
    """Raises BadInput for a prompt that cannot be."""
    settings = Settings(max_new_tokens=TOKENS, reference=WIDE, placement=Placement("auto"))
    return ComparisonRequest("demo", (WIDE, NARROW), checked_prompt(acted.prompt), settings)


def neighbours(value: float) -> tuple[float, float]:
    """The two bfloat16 numbers around a positive one that is none: 8 significant binary digits."""
    step = 2.0 ** (math.floor(math.log2(value)) - 7)
    below = math.floor(value / step) * step
    return below, below + step


def given() -> Mapping[str, str]:
    """What is told before the prediction."""
    below, above = neighbours(_TYPED)
    nearest = min((below, above), key=lambda it: abs(it - _TYPED))
    return {
        "weights": f"{_weights():,}",
        "typed": f"{_TYPED:g}",
        "below": f"{below:g}",
        "above": f"{above:g}",
        "nearest": f"{nearest:g}",
        "share": units.percent(abs(nearest - _TYPED) / _TYPED),
        "prompt": PROMPT,
        "tokens": str(TOKENS),
    }


@cache
def _weights() -> int:
    from quantlab.settings import AppSettings
    from quantlab.teach.plan import planning
    from quantlab.teach.plan.asked import Asked

    return planning.planned("demo", Asked((NARROW,)), (), AppSettings()).weights or 0


def truth(found: Comparison) -> Truth:
    """At how many places the two answers differ. Raises BadInput where one of them is not there."""
    wide, narrow = answered(found, WIDE), answered(found, NARROW)
    written = max(len(wide.token_ids), len(narrow.token_ids))
    same = sum(one == other for one, other in zip(wide.token_ids, narrow.token_ids, strict=False))
    bytes_of = {run.precision: run.load.stored_bytes if run.load else None for run in (wide, narrow)}
    return Truth(
        float(written - same),
        {
            "changed": str(written - same),
            "written": str(written),
            "wide_bytes": units.size(bytes_of[WIDE]),
            "narrow_bytes": units.size(bytes_of[NARROW]),
            "zeros": units.percent(zero_tails()),
        },
    )


def answered(found: Comparison, precision: str) -> Run:
    """The run of a precision, which has an answer. Raises BadInput."""
    run = next((it for it in found.runs if it.precision == precision), None)
    if run is None or run.error or run.stopped:
        why = run.error if run is not None and run.error else "it did not answer to the end"
        raise BadInput(f"There is no answer of {precision}: {why}.", "Measure again.")
    return run


@cache
def zero_tails() -> float:
    """The share of the demo model's weights whose last 16 of 32 bits are all zero."""
    from quantlab import models
    from quantlab.models.reading import reader
    from quantlab.settings import AppSettings

    model = models.resolve("demo", AppSettings(public=False))
    tensors = models.tensors(model)
    zero = total = 0
    with reader(model, frozenset(it.dtype for it in tensors.values())) as read:
        for name in tensors:
            tensor = read(name)
            zero, total = zero + _zero_tails(tensor), total + tensor.numel()
    return zero / total


def _zero_tails(tensor: "torch.Tensor") -> int:
    import torch

    return int((tensor.float().contiguous().view(torch.int32) & 0xFFFF == 0).sum())
