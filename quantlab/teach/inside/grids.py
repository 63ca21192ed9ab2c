"""The grids that can be laid open, by name: those of the methods, and plain integers (`plain-4-g64`)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quantlab.errors import BadInput, unknown
from quantlab.methods import METHODS, method_of
from quantlab.methods import precision as precision_named
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import Precision
from quantlab.runtime.kv_cache import split

BITS = (2, 8)
BLOCKS = (16, 4_096)
#: What may stand for a block size: one scale for a row, or for the whole matrix.
ROW, TENSOR = "row", "tensor"
_PLAIN = re.compile(r"plain-(\d{1,2})-(?:g(\d{1,6})|(row|tensor))(-zp)?")
#: Plain integers that stand in the table of all methods.
PLAIN = ("plain-8-row", "plain-8-g64", "plain-4-g64", "plain-4-g64-zp", "plain-4-row", "plain-2-g64")


@dataclass(frozen=True)
class Chosen:
    """A grid by its name. `precision` is None for plain integers. `refused`: why it is not to be had here."""

    name: str
    summary: str
    round: Callable[[Matrix], Rounded]
    precision: Precision | None = None
    refused: str = ""


def plain_name(bits: int, block: str, zero_point: bool) -> str:
    """The name of plain integers; `block` is a number, `row` or `tensor`."""
    return f"plain-{bits}-{block if block in (ROW, TENSOR) else f'g{block}'}" + "-zp" * zero_point


def chosen(name: str) -> Chosen:
    """The grid of that name. Raises BadInput for an unknown one, and for bits or a block size out of range."""
    if name.startswith("plain-"):
        return _plain(name)
    found = next((it for it in _of_methods() if it.name == name), None)
    if found is None:
        try:
            found = precision_named(name)
        except BadInput:
            if name.startswith(tuple(METHODS)):
                raise  # a known name with an impossible option says what is wrong with it
            raise unknown("precision", name, names()) from None
    if found.kv_cache is not None:
        base = split(name)[0]
        raise BadInput(
            f"{name} asks for another type of keys and values, and a weight matrix holds none.",
            f"Write {base}: its weights are the same.",
        )
    method = method_of(found)
    if not method.grids():
        raise BadInput(
            f"The levels of {name} are not laid open here.", f"Choose from: {', '.join(names())}, or plain integers."
        )
    why = method.unavailable("cpu")
    summary = f"{method.title}: {found.summary}"
    return Chosen(name, summary, partial(method.rounded, found), found, f"{name} {why}" if why is not None else "")


def names() -> tuple[str, ...]:
    """Of all methods, in the order of their lists."""
    return tuple(it.name for it in _of_methods())


def _of_methods() -> tuple[Precision, ...]:
    return tuple(it for method in METHODS.values() for it in method.grids())


def _plain(name: str) -> Chosen:
    found = _PLAIN.fullmatch(name)
    if found is None:
        raise BadInput(f"{name!r} names no plain integers.", "Write plain-4-g64, plain-8-row or plain-8-tensor-zp.")
    bits, whole, zero_point = int(found[1]), found[3], found[4] is not None
    if not BITS[0] <= bits <= BITS[1]:
        raise BadInput(f"Plain integers cannot have {bits} bits here.", f"Choose {BITS[0]} to {BITS[1]}.")
    size = int(found[2] or 0)
    if whole is None and not BLOCKS[0] <= size <= BLOCKS[1]:
        raise BadInput(f"A block cannot have {size:,} numbers here.", f"Choose {BLOCKS[0]} to {BLOCKS[1]:,}, or row.")
    where = {None: f"a scale for {size} numbers", ROW: "a scale for a row", TENSOR: "one scale for the matrix"}[whole]
    summary = f"plain {bits}-bit integers, {where}" + (", with a zero point" if zero_point else "")
    return Chosen(name, summary, partial(_rounded, bits, {None: size, ROW: None, TENSOR: 0}[whole], zero_point))


def _rounded(bits: int, block: int | None, zero_point: bool, matrix: Matrix) -> Rounded:
    from quantlab.teach.inside.uniform import Uniform, rounded

    return rounded(matrix, Uniform(bits, block, zero_point))
