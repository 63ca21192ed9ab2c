"""The tab's pieces of HTML, from plain values."""

from dataclasses import dataclass

from quantlab.records import units
from quantlab.records.inside import Grid, Inside, Outliers, Product
from quantlab.reporting.templates import Pieces

_HTML = Pieces("ui/inside/fragments.html")
ABOUT_OUTLIERS = _HTML.outliers_about()
#: Scales that are listed.
MOST_SCALES = 8


@dataclass(frozen=True)
class Cost:
    """What one grid takes, as text."""

    name: str
    bits: str
    codes: str
    beside: str
    parts: str
    note: str
    caution: str
    scales: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One small matrix of the product; `corner` names its rows and columns."""

    title: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def told(found: Inside) -> str:
    """One sentence on what is seen, and where the numbers lie."""
    from quantlab.teach.inside import looking

    last = found.column + len(found.values) - 1
    rows, columns = found.shape
    where = f"{found.source}: {rows:,} x {columns:,}. Row {found.row:,}, numbers {found.column:,} to {last:,}"
    where += f"; block {found.block:,} of {found.blocks:,}, counted from 0." if found.blocks > 1 else "."
    return _HTML.told(looking.told(found), looking.told_of_second(found), where, found.caution)


def cost(found: Inside) -> str:
    """What each grid takes, and its scales."""
    return _HTML.cost([_cost(grid) for grid in (found.grid, found.beside) if grid is not None])


def _cost(grid: Grid) -> Cost:
    figures = grid.figures
    scales = [_scale(scale.start, scale.stop, scale.scale, scale.zero_point, scale.minimum) for scale in grid.scales]
    if len(scales) > MOST_SCALES:
        scales = [*scales[:MOST_SCALES], f"and {len(scales) - MOST_SCALES:,} more scales"]
    return Cost(
        grid.name,
        units.number(figures.bits, 4),
        units.number(figures.code_bits, 4),
        units.number(figures.overhead_bits),
        ", ".join(f"{name} {units.size(nbytes)}" for name, nbytes in grid.parts.items()),
        figures.note,
        figures.caution,
        tuple(scales),
    )


def _scale(start: int, stop: int, scale: float, zero_point: float | None, minimum: float | None) -> str:
    whose = f"numbers {start} to {stop - 1}" if stop - start > 1 else f"number {start}"
    said = f"{whose}: scale {scale:.6g}"
    said += "" if zero_point is None else f", zero point {zero_point:g}"
    return units.minus(said + ("" if minimum is None else f", minimum {minimum:.6g}"))


def saves(found: Inside) -> str:
    """What double quantization saves, where the method has it."""
    from quantlab.teach.inside import double_saves

    return _HTML.under(double_saves(found))


def channels(found: Outliers) -> str:
    from quantlab.teach.inside import told_of_channels

    own = f"The model’s own spread is {found.sigma:.2f}."
    where = f"{found.source}, {found.tokens:,} tokens of the text {found.text}. {own}"
    return _HTML.channels(told_of_channels(found), where)


def product(found: Outliers, precision: str) -> str:
    """The corner of the product, matrix by matrix."""
    made = found.product
    where = (
        f"{precision}, from row {made.row:,} and input {made.column:,} of the weight: the last {len(made.activations)} "
        "tokens of the text, as the model is."
    )
    return _HTML.product(_steps(made), where)


def _steps(made: Product) -> list[Step]:
    inputs = tuple(f"in {made.column + place}" for place in range(len(made.weights[0])))
    outputs = tuple(f"out {made.row + place}" for place in range(len(made.weights)))
    tokens = tuple(f"token {place + 1}" for place in range(len(made.activations)))
    return [
        _step("1. Activations", tokens, inputs, made.activations),
        _step("2. Weights", outputs, inputs, made.weights),
        _step("3. The weights’ codes", outputs, inputs, made.codes),
        _step("4. What the codes stand for", outputs, inputs, made.kept),
        _step(f"5. 1 times 4, in {made.dtype}", tokens, outputs, made.computed),
        _step("6. The exact product, 1 times 2", tokens, outputs, made.exact),
    ]


def _step(title: str, names: tuple[str, ...], heads: tuple[str, ...], values: tuple[tuple[float, ...], ...]) -> Step:
    cells = (tuple(units.minus(str(it) if isinstance(it, int) else f"{it:.4g}") for it in row) for row in values)
    return Step(title, "", heads, tuple(zip(names, cells, strict=True)))
