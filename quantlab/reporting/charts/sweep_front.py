"""A Pareto front of a sweep: what each model at each precision costs in stored bytes, and what it gives."""

import math

import plotly.graph_objects as go

from quantlab.fidelity.summary import with_error
from quantlab.records import units
from quantlab.records.swept import Front, FrontPoint
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped, shortened

#: More names than these run into each other: then only those on the front are written, the others shown by a pointer.
_NAMED = 12
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
    """A symbol for each point by its precision, a line through those that nothing beats in both."""
    several = len({point.model for point in front.points}) > 1
    best = sorted((point for point in front.points if point.on_front), key=lambda it: it.stored_bytes)
    drawn = go.Figure()
    drawn.add_trace(go.Scatter(
        name="Pareto front", mode="lines", x=[it.stored_bytes for it in best], y=[shown(front, it)[0] for it in best],
        line={"color": style.GREY, "width": 2, "shape": "hv"}, hoverinfo="skip",
    ))  # fmt: skip
    for point in front.points:
        drawn.add_trace(_marker(front, point))
    for point in front.points if len(front.points) <= _NAMED else best:
        name = f"{shortened(point.model, 16)} {point.precision}" if several else point.precision
        drawn.add_annotation(
            x=math.log10(point.stored_bytes), y=shown(front, point)[0], text=escaped(shortened(name, 28)),
            showarrow=False, yshift=12, font={"size": 11}, name="point",
        )  # fmt: skip
    low, high = (math.log10(end(it.stored_bytes for it in front.points)) for end in (min, max))
    room = max(0.15, 0.15 * (high - low))
    unit = f" ({_UNITS[front.measure]})" if _UNITS[front.measure] else ""
    more = "Higher is better." if front.measure == "accuracy" else "Lower is better."
    style.laid_out(drawn, 360, f"{front.measure}{unit} against stored bytes. {more} Bars: one standard error.")
    return drawn.update_layout(
        xaxis=style.axis(type="log", range=[low - room, high + room], tickformat=".3~s", ticksuffix="B", nticks=6),
        yaxis=style.axis(),
    )  # fmt: skip


def _marker(front: Front, point: FrontPoint) -> go.Scatter:
    seen, (value, se) = style.look(point.precision), shown(front, point)
    told = [escaped(point.model), escaped(point.precision), units.exact_bytes(point.stored_bytes)]
    told.append(escaped(with_error(value, se, _UNITS[front.measure])))
    return go.Scatter(
        name=escaped(point.precision), mode="markers", x=[point.stored_bytes], y=[value], showlegend=False,
        marker={"symbol": seen.symbol, "size": 10, "color": seen.colour, "line": {"width": 1, "color": seen.colour}},
        error_y={"type": "data", "array": [se or 0.0], "color": seen.colour, "thickness": 1.5, "width": 4,
                 "visible": bool(se)},
        customdata=[["<br>".join(told)]], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


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
