"""Where in the model the error arises: each module's output against the reference's."""

import math
from typing import Literal, get_args

import plotly.graph_objects as go

from quantlab.fidelity.summary import SAME_LAYERS, same_layers
from quantlab.records import LayerError, Quality, units
from quantlab.reporting.charts import shades, style
from quantlab.reporting.charts.table import Table, reason
from quantlab.reporting.text import escaped, shortened

Figure = Literal["isolated", "propagated"]
_TITLES = {
    "isolated": "relative error made in the layer itself",
    "propagated": "relative error, earlier layers’ included",
}
#: At 1 the error is as large as the output; below 1e-4 it is bfloat16's own rounding and less.
LOWEST, HIGHEST = 1e-4, 1.0
# Of more layers the cells are too narrow for numbers on a telephone.
_NUMBERED = 6
_TICKS = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 0.1: "10 %", 1.0: "100 %"}


def figure(quality: Quality, precision: str, value: Figure = "isolated") -> go.Figure:
    """Heat map, modules x layers, of `LayerError.isolated` or `.propagated`; z is its decimal logarithm, clipped.

    Raises KeyError for a precision that was not asked for, ValueError for another `value`.
    """
    if value not in get_args(Figure):
        raise ValueError(f"value must be one of {', '.join(get_args(Figure))}, got {value!r}")
    run = quality.run(precision)
    if not run.layers:
        if precision == quality.reference:
            return style.empty(f"{precision} is the reference: its layers are what the others are compared with.")
        return style.empty(
            run.error or f"{precision} has no figures by layer. They are had for variants that torch runs."
        )
    if same_layers(run):
        return style.empty(f"{precision}: {SAME_LAYERS}. Keys and values at fewer bits are not seen here.")
    modules = list(dict.fromkeys(it.module for it in run.layers))
    layers = sorted({it.layer for it in run.layers})
    found = {(it.module, it.layer): it for it in run.layers}
    cells = [[found.get((module, layer)) for layer in layers] for module in modules]
    lowest = _lowest(quality, value)
    numbers = {"texttemplate": "%{text}", "textfont": {"color": shades.INK, "size": 11}}
    drawn = go.Figure(go.Heatmap(
        x=layers, y=modules, z=[[it and _log(getattr(it, value), lowest) for it in row] for row in cells],
        text=[[_percent(getattr(it, value)) if it else "" for it in row] for row in cells],
        **(numbers if len(layers) <= _NUMBERED else {}),
        zmin=math.log10(lowest), zmax=math.log10(HIGHEST), colorscale=shades.colour_scale(), xgap=1, ygap=1,
        hoverongaps=False, customdata=[[[_hover(it)] if it else [""] for it in row] for row in cells],
        hovertemplate="%{customdata[0]}<extra></extra>",
        colorbar=shades.colour_bar(
            _TITLES[value], {math.log10(at): name for at, name in _TICKS.items() if at >= lowest}
        ),
    ))  # fmt: skip
    # One row alone would leave less than the colour bar takes, and plotly then gives up.
    style.laid_out(drawn, 150 + 26 * max(len(modules), 4))
    labels = [escaped(shortened(module, 18)) for module in modules]
    return drawn.update_layout(
        xaxis=style.axis(title_text="layer", showgrid=False, nticks=12, range=[layers[0] - 0.5, layers[-1] + 0.5],
                         **({"dtick": 1} if len(layers) <= 12 else {})),
        yaxis=style.rows_axis(modules, labels, fixed=True), margin_b=112, margin_t=12,
    )  # fmt: skip


def _lowest(quality: Quality, value: Figure) -> float:
    """Where the scale begins: the decade of the smallest error of all precisions, so that one scale serves them all."""
    errors = [getattr(it, value) for run in quality.runs for it in run.layers]
    least = min((error for error in errors if error > 0), default=LOWEST)
    return min(max(10.0 ** math.floor(math.log10(least)), LOWEST), 0.1)


def _log(error: float, lowest: float) -> float | None:
    return None if math.isnan(error) else math.log10(min(max(error, lowest), HIGHEST))


def _percent(error: float) -> str:
    return "" if math.isnan(error) else f"{units.number(100 * error, 2)} %"


def _hover(it: LayerError) -> str:
    return (
        f"layer {it.layer}, {escaped(it.module)}<br>made in the layer: {100 * it.isolated:.6g} %<br>"
        f"earlier layers’ included: {100 * it.propagated:.6g} %<br>cosine {it.cosine:.6g}"
    )


COLUMNS = ("layer", "module", "own relative error", "relative error of the output", "cosine")


def table(quality: Quality, precision: str) -> Table:
    """The twin of `figure`, with both errors and the cosine. Raises KeyError where there is no such precision."""
    run = quality.run(precision)
    rows = tuple(
        (str(it.layer), it.module, units.percent(it.isolated), units.percent(it.propagated), f"{it.cosine:.6f}")
        for it in run.layers
    )
    if same_layers(run):
        return Table(COLUMNS, (), f"{precision}: {SAME_LAYERS}.")
    about = f"Error of {precision}'s modules against {quality.reference}'s, over one window of the text."
    return Table(COLUMNS, rows, about if rows else f"{about} {reason(run, 'No figures by layer.')}")
