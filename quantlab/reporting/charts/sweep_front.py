"""A Pareto front of a sweep: what each model at each precision costs in stored bytes, and what it gives."""

import math

import plotly.graph_objects as go

from quantlab.fidelity.summary import with_error
from quantlab.records import units
from quantlab.records.swept import Front, FrontPoint
from quantlab.reporting.charts import axes, style
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped, shortened

#: More names of models than these run into each other: then a pointer alone shows them.
_NAMED = 6
_UNITS = {"mean KLD": "nats", "perplexity": "", "accuracy": "%"}
COLUMNS = ("model", "precision", "stored", "value, with standard error", "on the front")


def title(front: Front) -> str:
    """What it shows, in words: "Accuracy at demo_facts, by memory: all models"."""
    verb = {"accuracy": "Accuracy at", "perplexity": "Perplexity on", "mean KLD": "Distance (mean KLD) on"}
    return f"{verb[front.measure]} {front.of}, by memory: {front.among}"


def shown(front: Front, point: FrontPoint) -> tuple[float, float | None]:
    """A point's value and its error as they are drawn: accuracies in percent."""
    factor = 100.0 if front.measure == "accuracy" else 1.0
    return factor * point.value, None if point.se is None else factor * point.se


def figure(front: Front) -> go.Figure:
    """A symbol for each point by its precision, a line through those that nothing beats in both.

    Of several models those on the front are named once, at their largest point there.
    """
    best = sorted((point for point in front.points if point.on_front), key=lambda it: it.stored_bytes)
    scale = axes.log_scale([it.value for it in front.points], zero=True) if front.measure == "mean KLD" else None
    drawn = go.Figure()
    drawn.add_trace(go.Scatter(
        name="Pareto front", mode="lines", x=[it.stored_bytes for it in best], y=[_y(front, scale, it) for it in best],
        line={"color": style.GREY, "width": 2, "shape": "hv"}, hoverinfo="skip",
    ))  # fmt: skip
    names = dict.fromkeys(point.precision for point in front.points)
    for name in names:
        drawn.add_trace(_markers(front, scale, name))
    largest = {point.model: point for point in best}
    for model, point in largest.items() if 1 < len(largest) <= _NAMED else ():
        y = _y(front, scale, point)
        drawn.add_annotation(
            x=math.log10(point.stored_bytes), y=y if scale is None else math.log10(y), name="point",
            text=escaped(shortened(model, 16)), showarrow=False, yshift=14, xanchor="right", font={"size": 11},
        )  # fmt: skip
    unit = f" ({_UNITS[front.measure]})" if _UNITS[front.measure] else ""
    more = "Higher is better." if front.measure == "accuracy" else "Lower is better."
    note = f"{front.measure}{unit} against stored bytes. {more} Bars: one standard error."
    style.laid_out(drawn, 340 + style.legend_height(1 + len(names)), note)
    return drawn.update_layout(
        xaxis=_bytes_axis([it.stored_bytes for it in front.points]),
        yaxis=style.axis() if scale is None else scale.axis(),
    )


def _y(front: Front, scale: axes.LogScale | None, point: FrontPoint) -> float:
    value = shown(front, point)[0]
    return value if scale is None else scale.place(value)


def _bytes_axis(sizes: list[int]) -> dict:
    """A log axis with at most six names: a phone has room for no more."""
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    room = max(0.15, 0.15 * (high - low))
    decades = range(math.floor(low - room), math.ceil(high + room) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**d for d in decades for step in steps if low - room <= d + math.log10(step) <= high + room]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: 1 + len(ticks) // 7]
    return style.axis(
        type="log", range=[low - room, high + room], autorange=False, tickmode="array", tickvals=ticks,
        ticktext=[_short(tick) for tick in ticks], tickangle=0,
    )  # fmt: skip


def _short(nbytes: float) -> str:
    """A round number of bytes, as short as can be: "10 MB"."""
    factor, unit = next(pair for pair in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (0, "B"))
                        if nbytes >= pair[0])  # fmt: skip
    return f"{nbytes / (factor or 1):.3g} {unit}"


def _markers(front: Front, scale: axes.LogScale | None, precision: str) -> go.Scatter:
    seen = style.look(precision)
    points = [point for point in front.points if point.precision == precision]
    errors = [shown(front, point)[1] or 0.0 for point in points]
    below = errors if scale is None else [
        scale.bar_below(it.value, error) for it, error in zip(points, errors, strict=True)
    ]  # fmt: skip
    return go.Scatter(
        name=escaped(precision), mode="markers", x=[it.stored_bytes for it in points],
        y=[_y(front, scale, it) for it in points],
        marker={"symbol": seen.symbol, "size": 10, "color": seen.colour, "line": {"width": 1, "color": seen.colour}},
        error_y={"type": "data", "symmetric": False, "array": errors, "arrayminus": below, "color": seen.colour,
                 "thickness": 1.5, "width": 4},
        customdata=[[_told(front, it)] for it in points], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _told(front: Front, point: FrontPoint) -> str:
    value = with_error(*shown(front, point), _UNITS[front.measure])
    lines = (point.model, point.precision, units.exact_bytes(point.stored_bytes), value)
    return "<br>".join(map(escaped, lines))


def table(front: Front) -> Table:
    """The twin of `figure`, from the smallest to the largest."""
    rows = tuple(
        (
            point.model,
            point.precision,
            units.size(point.stored_bytes),
            with_error(*shown(front, point), _UNITS[front.measure]),
            "yes" if point.on_front else "no",
        )
        for point in sorted(front.points, key=lambda it: it.stored_bytes)
    )
    return Table(COLUMNS, rows, f"{title(front)}. On the front is what nothing beats in both.")
