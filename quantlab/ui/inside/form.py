"""What is chosen on the tab, checked on the server, as a request."""

from dataclasses import dataclass
from typing import Any

from quantlab.errors import BadInput
from quantlab.records.inside import InsideRequest
from quantlab.teach.inside import grids
from quantlab.teach.inside.numbers import EXAMPLE
from quantlab.ui.common.typed import whole

LAYER, TYPED = "A layer of a model", "Numbers I type"
#: The choice of a grid that stands for plain integers, and of nothing beside it.
PLAIN, NOTHING = "plain integers", "nothing"
SHOWN = (16, 32, 64, 128, 256)
BLOCKS = ("16", "32", "64", "128", "256", "512", "1024", "2048", "4096", grids.ROW, grids.TENSOR)


@dataclass(frozen=True)
class InsideChoice:
    """What a visitor chose; the values as the components send them."""

    source: str = LAYER
    model: Any = "demo"
    layer: Any = None
    block: Any = 0
    shown: Any = 64
    values: Any = EXAMPLE
    grid: Any = "nf4"
    bits: Any = 4
    block_size: Any = "64"
    zero_point: Any = False
    beside: Any = "plain-4-g64"


def request(choice: InsideChoice) -> InsideRequest:
    """Raises BadInput for what is no choice at all; what remains is checked where it is used."""
    typed = choice.source == TYPED
    grid, beside = str(choice.grid or ""), str(choice.beside or NOTHING)
    if grid == PLAIN:
        grid = grids.plain_name(whole("The bits", choice.bits, 0), str(choice.block_size), bool(choice.zero_point))
    values = str(choice.values or "")
    if typed and not values.strip():
        raise BadInput("No number was typed.", f"Type some, such as {EXAMPLE}.")
    return InsideRequest(
        str(choice.model or ""),
        str(choice.layer or ""),
        grid,
        "" if beside in (NOTHING, grid) else beside,
        0 if typed else whole("The block", choice.block, 0),
        InsideRequest.shown if typed else whole("The numbers shown", choice.shown, 0),
        values if typed else "",
    )
