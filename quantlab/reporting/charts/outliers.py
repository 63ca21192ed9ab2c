"""Outlier channels: how large what enters a layer is, channel by channel, and what 8-bit products lose by that."""

import plotly.graph_objects as go

from quantlab.records import units
from quantlab.records.inside import Loss, Outliers
from quantlab.reporting.charts import axes, style
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped

#: Rows of the twin.
MOST_ROWS = 32
_ACTIVATIONS, _OUTLIERS, _WEIGHTS = "#006fd9", "#c04b1c", style.GREY
#: Field of `Loss`, name, symbol, dash and colour of each way to multiply.
_WAYS = (
    ("tensor", "one scale for all", "square", "solid", "#c04b1c"),
    ("rows", "one for each token and output", "circle-open", "dash", "#0b825d"),
    ("kept", "outliers in 16 bits (LLM.int8)", "diamond", "dot", "#8166ff"),
)


def channels(found: Outliers) -> go.Figure:
    """The largest magnitude of each channel, of activations and of weights, on a logarithmic axis."""
    over = set(found.over)
    inside = [place for place in range(len(found.activations)) if place not in over]
    scale = axes.log_scale([*found.activations, *found.weights, found.threshold])
    drawn = go.Figure()
    for name, places, values, symbol, size, colour in (
        ("activations", inside, found.activations, "circle", 5, _ACTIVATIONS),
        (f"activations that reach {found.threshold:g}", found.over, found.activations, "diamond", 9, _OUTLIERS),
        ("weights", range(len(found.weights)), found.weights, "x-thin-open", 5, _WEIGHTS),
    ):
        drawn.add_trace(go.Scatter(
            name=name, mode="markers", x=list(places), y=[scale.place(values[place]) for place in places],
            marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1, "color": colour}},
            customdata=[[f"channel {place}: {values[place]:.4g}"] for place in places],
            hovertemplate="%{customdata[0]}<extra>" + escaped(name) + "</extra>",
        ))  # fmt: skip
    drawn.add_hline(y=scale.place(found.threshold), line={"color": style.GREY, "width": 1, "dash": "dash"})
    style.laid_out(drawn, 330)
    return drawn.update_layout(
        xaxis=style.axis(title_text="input channel of the layer", showgrid=False),
        yaxis=scale.axis(title_text="largest magnitude"),
        margin_t=56,
    )


def losses(found: Outliers) -> go.Figure:
    """The relative error of 8-bit products over the spread of the channels, and the spread that is asked for."""
    drawn = go.Figure()
    for field, name, symbol, dash, colour in _WAYS:
        for each, mode, size in ((found.losses, "lines+markers", 6), ((found.loss,), "markers", 12)):
            drawn.add_trace(go.Scatter(
                name=name, mode=mode, showlegend=len(each) > 1,
                x=[loss.sigma for loss in each], y=[100 * getattr(loss, field) for loss in each],
                line={"color": colour, "dash": dash, "width": 2},
                marker={"symbol": symbol, "size": size, "color": colour},
                hovertemplate="spread %{x:.2f}: %{y:.3g} %<extra>" + name + "</extra>",
            ))  # fmt: skip
    drawn.add_vline(x=found.loss.sigma, line={"color": style.GREY, "width": 1, "dash": "dash"})
    style.laid_out(drawn, 330)
    return drawn.update_layout(
        xaxis=style.axis(title_text="spread of the channels (sigma)"),
        yaxis=style.axis(title_text="relative error, %", rangemode="tozero"),
        margin_t=72,
    )


def table(found: Outliers) -> tuple[Table, ...]:
    """The twins of both: the largest channels, and the losses."""
    order = sorted(range(len(found.activations)), key=lambda place: -found.activations[place])[:MOST_ROWS]
    over = set(found.over)
    rows = tuple(
        (
            str(place),
            units.number(found.activations[place]),
            units.number(found.weights[place]),
            "reaches it" if place in over else "",
        )
        for place in order
    )
    heads = ("channel", "largest activation", "largest weight", f"the threshold of {found.threshold:g}")
    about = f"The {len(rows)} channels with the largest activations, of {len(found.activations):,}."
    return Table(heads, rows, about), _losses(found)


def _losses(found: Outliers) -> Table:
    every: dict[float, Loss] = {each.sigma: each for each in (*found.losses, found.loss)}
    rows = tuple(
        (
            f"{sigma:.2f}",
            *(units.percent(getattr(every[sigma], field)) for field, *_ in _WAYS),
            str(every[sigma].outliers),
        )
        for sigma in sorted(every)
    )
    heads = ("spread", *(name for _, name, *_ in _WAYS), "channels in 16 bits")
    return Table(heads, rows, f"Relative error of the product of {found.source} in 8 bits.")
