"""Some numbers of a matrix, and what every method makes of them."""

from quantlab import models
from quantlab.checkpoints.load import checkpoint_store
from quantlab.errors import BadInput, QuantlabError
from quantlab.methods import method_of, variant_of
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import Calibration, Model, units
from quantlab.records.inside import Grid, GridFigures, Inside, InsideRequest
from quantlab.settings import AppSettings
from quantlab.teach.inside import block, grids, numbers, weights
from quantlab.teach.inside.grids import Chosen

#: How many numbers may be looked at together.
SHOWN = (1, 4_096)
#: Matrices of more numbers are not quantized by every method at each look.
LARGE = 1_000_000


def look(request: InsideRequest, app: AppSettings, others: bool = True) -> Inside:
    """What the request asks for; `others`: with the table of all methods.

    Raises BadInput or ModelError, in words for a user.
    """
    chosen = grids.chosen(request.precision.strip())
    beside = grids.chosen(request.beside.strip()) if request.beside.strip() else None
    model, matrix, source = _matrix(request, app)
    rows, columns = matrix.shape
    row, part, blocks = place(request, rows, columns)
    one = Matrix(matrix.weight, slice(row, row + 1), matrix.name, matrix.checkpoint)

    def laid(each: Chosen) -> Grid:
        return _grid(each, one, model, part)

    first, second = laid(chosen), None if beside is None else laid(beside)
    values = tuple(matrix.weight[row, part].tolist())
    reach = (*values, *first.levels, *(() if second is None else second.levels))
    return Inside(
        source,
        (rows, columns),
        row,
        part.start,
        request.block,
        blocks,
        values,
        first,
        block.histogram(matrix.weight, reach),
        second,
        _others(one, model, part) if others else (),
        None if model is None else model.caution,
    )


def _matrix(request: InsideRequest, app: AppSettings) -> tuple[Model | None, Matrix, str]:
    if request.values.strip():
        return None, Matrix(numbers.typed(request.values)), "typed numbers"
    model = weights.resolved(request.model, app)
    name = weights.weight_name(model, request.layer)
    return (
        model,
        Matrix(weights.weight(model, name), slice(None), name, models.checkpoint(model)),
        f"{weights.shown_name(model)}, {name}",
    )


def place(request: InsideRequest, rows: int, columns: int) -> tuple[int, slice, int]:
    """The row and the columns that are looked at, and how many such stretches a matrix of this size has.

    Raises BadInput for a block that it does not have.
    """
    shown = columns if request.values.strip() else min(_within("numbers shown", request.shown, *SHOWN), columns)
    in_row = -(-columns // shown)
    block = _within("block", request.block, 0, rows * in_row - 1)
    first = block % in_row * shown
    return block // in_row, slice(first, min(first + shown, columns)), rows * in_row


def _within(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise BadInput(f"The {what} cannot be {value:,}.", f"Choose {low:,} to {high:,}.")
    return value


def rounded(chosen: Chosen, matrix: Matrix, model: Model | None) -> Rounded:
    """By the checkpoint that is kept of this model, where the codes hang on more than the matrix; else by the method.

    Raises BadInput where the method cannot run here or the matrix cannot have it.
    """
    if chosen.refused:
        raise BadInput(f"{chosen.refused}.")
    if chosen.precision is None or model is None:
        return chosen.round(matrix)
    method = method_of(chosen.precision)
    if method.reads_more:
        variant = variant_of(model, chosen.precision, weights.PLACEMENT, Calibration())
        folder = checkpoint_store().found(variant)
        if folder is not None and (kept := method.kept_rounded(chosen.precision, folder, matrix)) is not None:
            return kept
    return chosen.round(matrix)


def _grid(chosen: Chosen, matrix: Matrix, model: Model | None, part: slice) -> Grid:
    found = rounded(chosen, matrix, model)
    return block.grid(chosen.name, chosen.summary, found, matrix.asked[0, part], part, matrix.weight.numel())


def _others(matrix: Matrix, model: Model | None, part: slice) -> tuple[GridFigures, ...]:
    """All methods on the same numbers, the best first: without an error, then by signal-to-noise ratio."""

    def figures(name: str) -> GridFigures:
        chosen = grids.chosen(name)
        slow = chosen.precision is not None and method_of(chosen.precision).rounds_slowly
        if slow and matrix.weight.numel() > LARGE:
            return GridFigures(
                name, chosen.summary, refused=f"{name} takes long for a matrix so large: choose it above"
            )
        try:
            return _grid(chosen, matrix, model, part).figures
        except QuantlabError as error:
            return GridFigures(name, chosen.summary, refused=error.what)

    found = map(figures, (*grids.PLAIN, *grids.names()))
    return tuple(sorted(found, key=_order))


def _order(found: GridFigures) -> tuple[bool, bool, float]:
    return bool(found.refused), found.max_error > 0, -(found.snr_db or 0.0)


def told(found: Inside) -> str:
    """One sentence on what is seen."""
    figures, count = found.grid.figures, len(found.values)
    these = f"Each of these {count:,} numbers" if count > 1 else "This number"
    levels = f"one of {figures.levels:,} levels" if figures.levels > 1 else "the only level there is"
    if not any(found.values) and figures.max_error == 0:
        every = (
            f"All these {count:,} numbers are 0, and none of them changes"
            if count > 1
            else "This number is 0, and stays"
        )
        return f"{every}: choose others to see what is lost."
    if figures.max_error == 0:
        return f"{these} becomes {levels}, and none of them changes." if count > 1 else f"{these} stays as it is."
    ratio = "" if figures.snr_db is None else f", and the signal-to-noise ratio is {figures.snr_db:.1f} dB"
    return f"{these} becomes {levels}; the largest error is {units.number(figures.max_error)}{ratio}."


def told_of_second(found: Inside) -> str:
    """The same of the grid set beside; empty without one."""
    if found.beside is None:
        return ""
    figures, first = found.beside.figures, found.grid.figures
    said = f"On the same numbers {figures.name} is off by {units.number(figures.max_error)} at most"
    if figures.snr_db is None or first.snr_db is None:
        return f"{said}."
    apart = figures.snr_db - first.snr_db
    how = "the same" if abs(apart) < 0.05 else f"{abs(apart):.1f} dB {'higher' if apart > 0 else 'lower'}"
    return f"{said}, and its ratio is {how}."


def double_saves(found: Inside) -> str:
    """What quantizing the scales again saves, where a method has a sibling that does so; empty else."""
    name = found.grid.name.removesuffix("-dq")
    bits = {each.name: each.overhead_bits for each in found.others if not each.refused}
    if f"{name}-dq" not in bits or name not in bits:
        return ""
    once, twice = bits[name], bits[f"{name}-dq"]
    return (
        f"Beside its codes {name} takes {units.number(once)} bits a weight and {name}-dq {units.number(twice)}: double "
        f"quantization saves {units.apart(once, twice)} bits a weight of this matrix, codebooks included."
    )
