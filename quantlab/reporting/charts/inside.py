"""How the numbers of a block become levels: the matrix's histogram with the levels in it, and each number's move."""

import itertools

import plotly.graph_objects as go

from quantlab.records import units
from quantlab.records.inside import Grid, Inside
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped

#: Moves that are drawn, and lines of levels: more would be one grey field.
MOST_MOVES, MOST_LEVELS = 512, 300
#: Levels whose codes can stand side by side on a phone.
MOST_CODES = 16
#: Rows of a twin.
MOST_ROWS = 256
_STRIP, _HISTOGRAM = 110, 170
# Between the parts of a line that is drawn in pieces.
_GAP = None


def figure(found: Inside) -> go.Figure:
    """Above the histogram of the matrix over the levels of the first grid; below a strip for each grid, in which a line
    leads from each number (top) to its level (bottom)."""
    grids = [found.grid, *([found.beside] if found.beside else [])]
    histogram, domains = found.histogram, _domains(len(grids))
    strips = [trace for place, grid in enumerate(grids) for trace in _strip(found.values, grid, f"y{place + 2}")]
    # All at once: each addition to a figure is checked again, and a change has to be seen within a moment.
    drawn = go.Figure([_bars(found), _lines(found.grid, max(histogram.counts, default=1) or 1), *strips])
    style.laid_out(drawn, _HISTOGRAM + _STRIP * len(grids) + 90)
    axes = {
        f"yaxis{place + 2}": style.axis(
            domain=domains[place + 1], range=[-0.25, 1.25], tickvals=[0, 1], showgrid=False,
            ticktext=[escaped(f"{grid.name}: levels"), "numbers"],
        )
        for place, grid in enumerate(grids)
    }  # fmt: skip
    low, high = histogram.edges[0], histogram.edges[-1]
    edge = 0.03 * (high - low)
    return drawn.update_layout(
        xaxis=style.axis(title_text="value", anchor=f"y{len(grids) + 1}", range=[low - edge, high + edge],
                         showgrid=False),
        yaxis=style.axis(domain=domains[0], title_text="how many", rangemode="tozero", nticks=4),
        bargap=0, **axes,
    )  # fmt: skip


def _bars(found: Inside) -> go.Bar:
    bins = list(itertools.pairwise(found.histogram.edges))
    return go.Bar(
        x=[(low + high) / 2 for low, high in bins], y=found.histogram.counts, name="numbers of the matrix", yaxis="y",
        width=[high - low for low, high in bins],
        marker={"color": "rgba(128,128,128,0.45)", "line": {"width": 0}},
        customdata=[[units.minus(f"{low:.4g} to {high:.4g}")] for low, high in bins],
        hovertemplate="%{customdata[0]}: %{y:,} numbers of the matrix<extra></extra>",
    )  # fmt: skip


def _domains(strips: int) -> list[list[float]]:
    """Where the histogram and the strips stand, as shares of the height, the histogram first."""
    whole = _HISTOGRAM + _STRIP * strips
    found = [[1 - _HISTOGRAM / whole + 0.03, 1.0]]
    for place in range(strips):
        top = 1 - (_HISTOGRAM + _STRIP * place) / whole
        found.append([max(top - _STRIP / whole, 0), top - 0.02])
    return found


def _lines(grid: Grid, top: float) -> go.Scatter:
    """The levels of a grid as lines through the histogram; of very many those that a number became."""
    levels = grid.levels if len(grid.levels) <= MOST_LEVELS else tuple(sorted(set(grid.kept)))
    x = [it for level in levels for it in (level, level, _GAP)]
    return go.Scatter(
        x=x, y=[0, top, _GAP] * len(levels), mode="lines", name=f"levels of {escaped(grid.name)}", yaxis="y",
        line={"color": style.colour(grid.name), "width": 1.4 if len(levels) <= 64 else 0.6}, hoverinfo="skip",
    )  # fmt: skip


def _strip(values: tuple[float, ...], grid: Grid, axis: str) -> list[go.Scatter]:
    seen = style.look(grid.name)
    moves = list(zip(values, grid.codes, grid.kept, strict=True))[:MOST_MOVES]
    levels = grid.levels if len(grid.levels) <= MOST_LEVELS else ()
    told = [[_move(place, *move)] for place, move in enumerate(moves)]
    count = len(moves)
    ends = {"symbol": ["circle-open", seen.symbol, "circle"] * count, "size": [6, 7, 0] * count,
            "color": [style.GREY, seen.colour, style.GREY] * count}  # fmt: skip
    return [
        go.Scatter(
            x=levels, y=[0] * len(levels), yaxis=axis, mode="markers", showlegend=False, hoverinfo="skip",
            marker={"symbol": "line-ns", "size": 14, "line": {"width": 1, "color": seen.colour}},
        ),
        go.Scatter(
            x=[it for value, _, kept in moves for it in (value, kept, _GAP)], y=[1, 0, _GAP] * count, yaxis=axis,
            mode="lines+markers", showlegend=False, line={"color": style.GREY, "width": 1}, marker=ends,
            customdata=[it for each in told for it in (each, each, [""])],
            hovertemplate="%{customdata[0]}<extra></extra>",
        ),
    ]  # fmt: skip


def moves(found: Inside) -> go.Figure:
    """The first grid's strip alone, for a few numbers: no histogram, and each level's code where there is room."""
    drawn = go.Figure(_strip(found.values, found.grid, "y"))
    levels, codes = found.grid.scales[0].levels, found.grid.scales[0].codes
    if len(set(levels)) == 1 < len(levels):  # of zeros alone: their codes would stand upon one another
        levels, said = levels[:1], [f"{codes[0]} to {codes[-1]}"]
    else:
        said = [str(code) for code in codes]
    if len(found.grid.scales) == 1 and len(levels) <= MOST_CODES:
        drawn.add_scatter(
            x=levels, y=[-0.22] * len(levels), mode="text", text=list(map(units.minus, said)), hoverinfo="skip",
            showlegend=False, name="codes",
        )  # fmt: skip
    reach = max((abs(it) for it in (*found.values, *levels)), default=1.0) or 1.0
    style.laid_out(drawn, 250)
    return drawn.update_layout(
        showlegend=False,
        xaxis=style.axis(title_text="value", showgrid=False, range=[-1.06 * reach, 1.06 * reach]),
        yaxis=style.axis(
            range=[-0.4, 1.2], tickvals=[-0.22, 0, 1], ticktext=["bucket", "level", "number"], showgrid=False
        ),
    )


def _move(place: int, value: float, code: int, kept: float) -> str:
    return units.minus(f"number {place}: {value:.5g}<br>code {code}, level {kept:.5g}<br>error {kept - value:.2g}")


def table(found: Inside) -> tuple[Table, ...]:
    """The twins of `figure`: the levels of each grid with how many of the numbers became one, and the histogram."""
    grids = [found.grid, *([found.beside] if found.beside else [])]
    return (*map(_levels, grids), _histogram(found))


def _levels(grid: Grid) -> Table:
    counted: dict[float, int] = {}
    for kept in grid.kept:
        counted[kept] = counted.get(kept, 0) + 1
    codes: dict[float, list[int]] = {}
    for scale in grid.scales:
        for level, code in zip(scale.levels, scale.codes, strict=True):
            codes.setdefault(level, []).append(code)
    listed = grid.levels if len(grid.levels) <= MOST_ROWS else sorted(counted)
    rows = tuple(
        tuple(map(units.minus, (f"{level:.6g}", _codes(codes[level]), f"{counted.get(level, 0):,}")))
        for level in listed
    )
    about = f"Levels of {grid.name}" + (" that a number became." if len(listed) < len(grid.levels) else ".")
    return Table(("level", "code", "numbers shown that become it"), rows, about)


def _codes(codes: list[int]) -> str:
    """Of zeros alone all levels are one."""
    found = list(dict.fromkeys(codes))
    return " or ".join(map(str, found)) if len(found) <= 4 else f"{min(found)} to {max(found)}"


def _histogram(found: Inside) -> Table:
    histogram = found.histogram
    edges = itertools.pairwise(histogram.edges)
    rows = [
        (units.minus(f"{low:.4g} to {high:.4g}"), f"{count:,}")
        for (low, high), count in zip(edges, histogram.counts, strict=True)
    ]
    rows = [("below", f"{histogram.below:,}"), *rows, ("above", f"{histogram.above:,}")]
    return Table(("value", "numbers of the matrix"), tuple(rows), f"Numbers of {found.source}.")


VALUES = ("number", "value", "code", "level", "error")


def values(found: Inside) -> Table:
    """Each number with its code, its level and its error; with those of the second grid, where there is one."""
    grids = [found.grid, *([found.beside] if found.beside else [])]
    heads = [f"{grid.name}: {what}" for grid in grids for what in VALUES[2:]]
    rows = []
    for place, value in enumerate(found.values[:MOST_ROWS]):
        cells = [str(found.column + place), f"{value:.6g}"]
        for grid in grids:
            code, kept = grid.codes[place], grid.kept[place]
            cells += [str(code), f"{kept:.6g}", f"{kept - value:.2g}"]
        rows.append(tuple(map(units.minus, cells)))
    left = len(found.values) - len(rows)
    about = f"Row {found.row:,} of {found.source}" + (f"; {left:,} more are not listed." if left else ".")
    return Table((*VALUES[:2], *heads), tuple(rows), about)


METHODS = (
    "grid",
    "SNR",
    "largest error",
    "RMS error",
    "levels",
    "bits a weight",
    "of them codes",
    "scales etc.",
    "what",
)


def methods(found: Inside) -> Table:
    """All methods on the same numbers, the best signal-to-noise ratio first."""
    rows = []
    for each in found.others:
        if each.refused:
            rows.append((each.name, *[units.NONE] * 7, each.refused))
            continue
        ratio = "no error" if each.max_error == 0 else units.NONE if each.snr_db is None else f"{each.snr_db:.1f} dB"
        bits = (units.number(it, 4) for it in (each.bits, each.code_bits, each.overhead_bits))
        errors = (units.number(each.max_error), units.number(each.rms_error))
        rows.append((each.name, ratio, *errors, f"{each.levels:,}", *bits, each.caution or each.summary))
    count = len(found.values)
    about = f"All methods on {'these' if count > 1 else 'this'} {count:,} number{'s' * (count > 1)}, the best first."
    return Table(METHODS, tuple(rows), about)
