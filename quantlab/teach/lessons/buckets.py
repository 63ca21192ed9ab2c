"""Lesson 2: which bucket a number falls into, by the grids of `teach.inside`."""

from collections.abc import Mapping
from functools import cache

from quantlab.errors import BadInput
from quantlab.records import units
from quantlab.records.inside import Inside, InsideRequest
from quantlab.records.lessons import Truth
from quantlab.settings import AppSettings
from quantlab.teach.inside import grids
from quantlab.teach.inside.numbers import EXAMPLE
from quantlab.teach.lessons.acted import BITS, Acted

#: Which of the example's numbers is asked for, and the outlier of the last step.
_ASKED, _OUTLIER = 1, "4.2"


def given() -> Mapping[str, str]:
    """What is told before the prediction: the example worked by hand but for the number that is asked for."""
    numbers = EXAMPLE.split(", ")
    first, asked, last = numbers
    scale = max(abs(float(it)) for it in numbers) / 7
    facts = {
        "numbers": EXAMPLE,
        "asked": asked,
        "first": first,
        "last": last,
        "largest": first.lstrip("-"),
        "scale": f"{scale:.5f}",
        "first_divided": f"{float(first) / scale:.2f}",
        "first_code": f"{float(first) / scale:.0f}",
        "last_divided": f"{float(last) / scale:.2f}",
        "last_code": f"{abs(round(float(last) / scale))}",
    }
    return {name: units.minus(text) for name, text in facts.items()}


@cache
def truth() -> Truth:
    """The bucket of the number asked for, of real tensors."""
    found, with_outlier = looked(EXAMPLE, 4), looked(f"{EXAMPLE}, {_OUTLIER}", 4)
    value, code, kept = (it[_ASKED] for it in (found.values, found.grid.codes, found.grid.kept))
    scale = found.grid.scales[0].scale
    return Truth(
        float(code),
        {
            "asked_divided": f"{value / scale:.2f}",
            "asked_code": str(code),
            "asked_kept": f"{kept:.4f}",
            "asked_error": f"{abs(kept - value):.4f}",
            "half": f"{scale / 2:.4f}",
            "outlier_scale": f"{with_outlier.grid.scales[0].scale:.3f}",
            "outlier_divided": f"{value / with_outlier.grid.scales[0].scale:.2f}",
            "outlier_code": str(with_outlier.grid.codes[_ASKED]),
            "outlier_kept": f"{with_outlier.grid.kept[_ASKED]:g}",
        },
        "Computed now, by the same code as Inside (quantlab inside).",
    )


def picture(acted: Acted) -> Inside:
    """The learner's own numbers. Raises BadInput."""
    if not BITS[0] <= acted.bits <= BITS[1]:
        raise BadInput(f"{acted.bits} bits cannot be shown here.", f"Choose {BITS[0]} to {BITS[1]}.")
    if not acted.numbers.strip():
        raise BadInput("No number was typed.", f"Type some, such as {EXAMPLE}.")
    return looked(acted.numbers, acted.bits)


def told(found: Inside) -> str:
    """What became of the learner's own numbers, in sentences: the scale, the buckets, what is lost."""
    grid, count = found.grid, len(found.values)
    largest, top = max(map(abs, found.values)), grid.scales[0].codes[-1]
    if not largest:
        every = "All your numbers are 0" if count > 1 else "Your number is 0"
        return (
            f"{every}: there is no largest one that could set the scale, so the scale is 0 too, and whatever the "
            "bucket, what is read again is 0. Nothing is lost. Type a number that is not 0 to see what buckets do."
        )
    lost = sum(value != 0 and kept == 0 for value, kept in zip(found.values, grid.kept, strict=True))
    gone = "" if not lost else (
        f" {lost:,} of them {'is' if lost == 1 else 'are'} not 0, and yet bucket 0 is the nearest: read again, "
        f"{'it is' if lost == 1 else 'they are'} 0."
    )  # fmt: skip
    return units.minus(
        f"The largest of your numbers, without its sign, is {largest:.5g}, and the buckets go from -{top} to {top}: "
        f"the scale is {largest:.5g} / {top} = {grid.scales[0].scale:.4g}. Read again, your numbers are off by "
        f"{units.number(grid.figures.max_error)} at most.{gone}"
    )


def looked(numbers: str, bits: int) -> Inside:
    """Numbers as plain integers with one scale for all. Raises BadInput for what is no number."""
    from quantlab.teach import inside

    request = InsideRequest(precision=grids.plain_name(bits, grids.ROW, False), values=numbers)
    found: Inside = inside.look(request, AppSettings(), False)
    return found
