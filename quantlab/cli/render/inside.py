"""What lies inside a matrix, in the terminal."""

from rich.markup import escape
from rich.table import Table

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import narrow
from quantlab.records import units
from quantlab.records.inside import Grid, GridFigures, Inside, Outliers

#: Numbers, and levels, that a terminal is shown; JSON has all.
MOST = 64


def show_inside(found: Inside | Outliers, console: Screen | None = None) -> None:
    """The numbers with their codes and levels, what they cost, and all methods on the same numbers."""
    console = console or Screen()
    if isinstance(found, Outliers):
        _outliers(found, console)
        return
    if found.caution:
        console.print(f"[yellow]{escape(found.caution)}[/]\n")
    rows, columns = found.shape
    last = found.column + len(found.values) - 1
    where = f"{found.source} {rows:,} x {columns:,}: row {found.row:,}, numbers {found.column:,} to {last:,}"
    console.print(f"[bold]{escape(found.grid.name)}[/] on {escape(where)}", highlight=False)
    console.print(escape(_told(found)), highlight=False, end="\n\n")
    for each in filter(None, (found.grid, found.beside)):
        console.print(_numbers(found, each))
        if len(found.values) > MOST:
            console.print(f"and {len(found.values) - MOST:,} more: --json has all of them", style="dim")
        _cost(each, console)
    if found.others:
        _others(found.others, console)


def _told(found: Inside) -> str:
    from quantlab.teach.inside import told

    return told(found)


def _numbers(found: Inside, grid: Grid) -> Table:
    table = narrow(grid.name, "number", "code", "level", "error")
    for column in table.columns:
        column.justify = "right"
    for value, code, kept in list(zip(found.values, grid.codes, grid.kept, strict=True))[:MOST]:
        table.add_row(f"{value:.6g}", str(code), f"{kept:.6g}", f"{kept - value:.3g}")
    return table


def _cost(grid: Grid, console: Screen) -> None:
    figures = grid.figures
    for scale in grid.scales[:4]:
        said = f"numbers {scale.start} to {scale.stop - 1}: scale {scale.scale:.6g}"
        said += "" if scale.zero_point is None else f", zero point {scale.zero_point:g}"
        said += "" if scale.minimum is None else f", minimum {scale.minimum:.6g}"
        console.print(said, style="dim", highlight=False)
    parts = ", ".join(f"{name} {units.size(nbytes)}" for name, nbytes in grid.parts.items())
    bits = f"{units.number(figures.bits, 4)} bits a weight: {units.number(figures.code_bits, 4)} of codes, "
    console.print(f"{bits}{units.number(figures.overhead_bits)} beside them ({escape(parts)})", highlight=False)
    for said in filter(None, (figures.note, figures.caution)):
        console.print(escape(said), style="dim", highlight=False)
    console.print()


def _others(others: tuple[GridFigures, ...], console: Screen) -> None:
    table = narrow("all methods on these numbers", "grid", "SNR", "largest error", "bits", "levels")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in (it for it in others if not it.refused):
        ratio = units.NONE if each.snr_db is None else f"{each.snr_db:.1f} dB"
        cells = (each.name, ratio, units.number(each.max_error), units.number(each.bits, 4), f"{each.levels:,}")
        table.add_row(*map(escape, cells))
    console.print(table)
    for said, names in remarks(others).items():
        console.print(f"{escape(', '.join(names))}: {escape(said)}", style="dim", highlight=False)


def remarks(others: tuple[GridFigures, ...]) -> dict[str, list[str]]:
    """What is to be said of some of them, and of which."""
    found: dict[str, list[str]] = {}
    for each in others:
        if said := each.refused or each.caution:
            found.setdefault(said, []).append(each.name)
    return found


def _outliers(found: Outliers, console: Screen) -> None:
    loss = found.loss
    console.print(f"[bold]What enters {escape(found.source)}[/]", highlight=False)
    console.print(escape(_told_of(found)), highlight=False, end="\n\n")
    table = narrow("relative error of the product in 8 bits", "spread", "per tensor", "per row", "LLM.int8", "outliers")
    for column in table.columns:
        column.justify = "right"
    for each in sorted({it.sigma: it for it in (*found.losses, loss)}.values(), key=lambda it: it.sigma):
        mark = " *" if each.sigma == loss.sigma else ""
        errors = (units.percent(value) for value in (each.tensor, each.rows, each.kept))
        table.add_row(f"{each.sigma:.2f}{mark}", *errors, str(each.outliers))
    console.print(table)
    console.print(f"* the spread asked for; the model has {found.sigma:.2f}\n", style="dim", highlight=False)
    product = found.product
    for title, rows in (
        ("activations, token by token", product.activations),
        ("weights, output by output", product.weights),
        ("their codes", product.codes),
        ("what the codes stand for", product.kept),
        ("the exact product of this corner", product.exact),
        (f"the product with the codes' values, in {product.dtype}", product.computed),
    ):
        console.print(_square(title, rows))


def _told_of(found: Outliers) -> str:
    from quantlab.teach.inside import told_of_channels

    return told_of_channels(found)


def _square(title: str, rows: tuple[tuple[float, ...], ...]) -> Table:
    table = narrow(title, *("" for _ in rows[0]))
    table.show_header = False
    for column in table.columns:
        column.justify = "right"
        column.min_width = 12
    for row in rows:
        table.add_row(*(str(value) if isinstance(value, int) else f"{value:.5g}" for value in row))
    return table
