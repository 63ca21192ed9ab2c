"""Lesson 1: what 32 bits have that 16 have not, by a comparison and by the demo model's own weights."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from quantlab.errors import BadInput
from quantlab.records import Comparison, ComparisonRequest, Placement, Run, Settings, TokenDifference, units
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
    """At how many places of the 32-bit answer the 16-bit model, which reads it, prefers another token.

    Raises BadInput where one of the two did not answer.
    """
    wide, narrow = answered(found, WIDE), answered(found, NARROW)
    other = [it for it in narrow.differences if not it.same_top]
    bytes_of = {run.precision: run.load.stored_bytes if run.load else None for run in (wide, narrow)}
    return Truth(
        float(len(other)),
        {
            "changed": str(len(other)),
            "written": str(len(narrow.differences)),
            "closest": _closest(other),
            "freely": _freely(narrow),
            "wide_bytes": units.size(bytes_of[WIDE]),
            "narrow_bytes": units.size(bytes_of[NARROW]),
            "zeros": units.percent(zero_tails()),
        },
    )


def _closest(other: Sequence[TokenDifference]) -> str:
    """How near to each other the two likeliest tokens were where it prefers another one."""
    gaps = [it.theirs[0].probability - it.theirs[1].probability for it in other if len(it.theirs) > 1]
    if not gaps:
        return ""
    where = "There" if len(other) == 1 else "At these places"
    most = "" if len(gaps) == 1 else "at most "
    apart = f"its two likeliest tokens lay {most}{100 * max(gaps):.1f} percent points apart"
    return f"{where} the 32-bit model itself was undecided: {apart}."


def _freely(narrow: Run) -> str:
    """What became of the 16-bit model's own answer."""
    if narrow.first_divergence is None:
        return "Left to itself, it wrote the very same words."
    at = narrow.first_divergence.index + 1
    return (
        f"Left to itself, it wrote the same {units.counted(at - 1, 'token')} first. From there on it told its own "
        "story, since each token is read again before the next one is written."
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
