"""What each variant makes of the reference's answer, token by token (teacher-forced): KLD, agreement, probability."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantlab.measure import trust
from quantlab.measure.statistics import mean
from quantlab.records import Candidate, Comparison, Run, TokenDifference, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.difference_table import table, token_table
from quantlab.reporting.text import escaped, shortened, visible

__all__ = ["figure", "probabilities", "summary", "table", "token_table"]

#: The KLD scale is the same in every chart, so that one shade always means one divergence. Below the floor lies the
#: rounding noise of float32; above the ceiling the variant has nothing in common with the reference.
FLOOR, CEILING = 1e-6, 10.0
_SHADES = ((0.0, "rgba(128,128,128,0.10)"), (0.45, "rgba(240,170,60,0.45)"), (0.75, "rgba(224,96,32,0.9)"),
           (1.0, "#a01058"))  # fmt: skip
_DECADES = {1e-6: "0.000001", 1e-4: "0.0001", 0.01: "0.01", 1.0: "1"}


def compared(comparison: Comparison) -> list[Run]:
    """The runs with figures against the reference, itself left out: its distance to itself is zero by definition."""
    return [run for run in comparison.runs
            if run.error is None and run.differences and run.precision != comparison.reference]  # fmt: skip


def _nothing(comparison: Comparison) -> go.Figure:
    reference = comparison.reference
    if len([run for run in comparison.runs if run.error is None]) == 1:
        return style.empty(f"Only {reference} answered. A second precision would show how they differ.")
    return style.empty(
        f"No precision could be compared with the reference {reference}. The columns above say why; choose others."
    )


def figure(comparison: Comparison) -> go.Figure:
    """Heat map, variants x token positions, of the KLD in nats; z is its decimal logarithm, clipped to the scale."""
    runs = compared(comparison)
    if not runs:
        return _nothing(comparison)
    names = [run.precision for run in runs]
    width = max(len(run.differences) for run in runs)
    drawn = go.Figure(_cells(runs, width))
    drawn.add_trace(_other_top(runs))
    if parted := _parted(runs):
        drawn.add_trace(_partings(parted))
    # One row alone would leave less than the legend and the colour bar take, and plotly then gives up.
    style.laid_out(drawn, 160 + 36 * max(len(names), 3))
    return drawn.update_layout(
        xaxis=style.axis(title_text=_tokens_of(comparison), showgrid=False,
                         range=[-0.5, width - 0.5], nticks=10),
        yaxis=style.rows_axis(names, [style.label(name) for name in names], fixed=True),
        margin_b=112,
    )  # fmt: skip


def _tokens_of(comparison: Comparison) -> str:
    return f"token of {escaped(shortened(comparison.reference, 20))}'s answer"


def log_kld(kld: float) -> float | None:
    """log10 of a KLD in nats, clipped to the scale; None where it is not a number."""
    return None if math.isnan(kld) else math.log10(min(max(kld, FLOOR), CEILING))


def _cells(runs: list[Run], width: int) -> go.Heatmap:
    gap = [None] * width
    return go.Heatmap(
        name="KLD", y=[run.precision for run in runs], x=list(range(width)),
        z=[[*(log_kld(it.kld) for it in run.differences), *gap][:width] for run in runs],
        customdata=[[*([hover(run.precision, i, it)] for i, it in enumerate(run.differences)),
                     *([""] for _ in gap)][:width] for run in runs],
        hovertemplate="%{customdata[0]}<extra></extra>", hoverongaps=False, xgap=1, ygap=3,
        zmin=math.log10(FLOOR), zmax=math.log10(CEILING), colorscale=[list(stop) for stop in _SHADES],
        colorbar={"orientation": "h", "thickness": 10, "len": 1.0, "x": 0, "xanchor": "left",
                  "y": 0, "yanchor": "bottom", "yref": "container", "ypad": 4, "xpad": 0, "outlinewidth": 0,
                  "tickmode": "array", "tickvals": [math.log10(kld) for kld in _DECADES],
                  "ticktext": list(_DECADES.values()),
                  "title": {"text": "KLD to the reference, nats", "side": "bottom"}},
    )  # fmt: skip


def hover(precision: str, index: int, it: TokenDifference) -> str:
    """What one token's cell says, as plotly's markup; names and tokens come from outside and are escaped."""
    same = "same most likely token" if it.same_top else f"another most likely token: the reference's number {it.rank}"
    return (
        f"{escaped(precision)}, token {index}: {escaped(visible(it.token))}<br>"
        f"probability {_exact_percent(it.probability)}, reference {_exact_percent(it.reference_probability)}<br>"
        f"{same}<br>KLD {it.kld:.6g} nats{_candidates(precision, it.ours)}{_candidates('reference', it.theirs)}"
    )


def _candidates(whose: str, found: tuple[Candidate, ...]) -> str:
    """The likeliest tokens, one a line, as plotly's markup; nothing where they were not kept."""
    if not found:
        return ""
    lines = (f"  {escaped(visible(it.text))}  {units.percent(it.probability)}" for it in found)
    return "<br>".join((f"<br><b>{escaped(whose)}</b>", *lines))


def _exact_percent(probability: float) -> str:
    return f"{100 * probability:.6g} %"


def _other_top(runs: list[Run]) -> go.Scatter:
    places = [(i, run.precision) for run in runs for i, it in enumerate(run.differences) if not it.same_top]
    return go.Scatter(
        name="different likeliest token", mode="markers", x=[i for i, _ in places], y=[name for _, name in places],
        marker={"symbol": "circle", "size": 5, "color": "#ffffff", "line": {"color": "#111111", "width": 1}},
        hoverinfo="skip",
    )  # fmt: skip


def _parted(runs: list[Run]) -> list[tuple[Run, int]]:
    """The runs whose own answer first differs at a token that the reference's answer has, and its place."""
    return [
        (run, run.first_divergence.index) for run in runs
        if run.first_divergence is not None and run.first_divergence.index < len(run.differences)
    ]  # fmt: skip


def _partings(parted: list[tuple[Run, int]]) -> go.Scatter:
    return go.Scatter(
        name="first difference", mode="markers", x=[place for _, place in parted],
        y=[run.precision for run, _ in parted], hoverinfo="skip",
        marker={"symbol": "square-open", "size": 17, "color": style.GREY, "line": {"width": 3}},
    )  # fmt: skip


def summary(comparison: Comparison) -> go.Figure:
    """For each variant the share of tokens with the same most likely token, and the mean KLD in nats."""
    runs = compared(comparison)
    if not runs:
        return _nothing(comparison)
    names = [run.precision for run in runs]
    shares = [same_top(run) for run in runs]
    klds = [mean([it.kld for it in run.differences]) for run in runs]
    height = 80 + 2 * (50 + 40 * len(runs))
    drawn = make_subplots(rows=2, cols=1, vertical_spacing=72 / height,
                          subplot_titles=("Same most likely token", "Mean KLD to the reference, nats"))  # fmt: skip
    for row, values, texts, figures in (
        (1, shares, [units.percent(share) for share in shares], [_exact_percent(share) for share in shares]),
        (2, klds, [units.nats(kld) for kld in klds], [f"{kld:.6g} nats" for kld in klds]),
    ):
        drawn.add_trace(_bars(names, values, figures), row=row, col=1)
        labels = [style.label(name, text) for name, text in zip(names, texts, strict=True)]
        drawn.update_yaxes(style.rows_axis(names, labels), row=row, col=1)
    style.laid_out(drawn, height, few(runs), style.NARROW)
    drawn.update_xaxes(style.axis(range=[0, 1], tickformat=".0%", nticks=6), row=1, col=1)
    drawn.update_xaxes(style.axis(rangemode="tozero", nticks=6), row=2, col=1)
    for title in drawn.layout.annotations:
        title.update(x=0, xanchor="left", font={"size": 13, "color": style.GREY}, yshift=2)
    return drawn.update_layout(margin={"t": 34, "b": 36}, showlegend=False)


def few(runs: list[Run]) -> str:
    """That the figures are of a few positions; empty where they are of enough."""
    found = trust.few(max(len(run.differences) for run in runs))
    return f"These figures are {found}." if found else ""


def _bars(names: list[str], values: Sequence[float | None], exact: list[str]) -> go.Bar:
    return go.Bar(
        orientation="h", y=names, x=values, width=0.6, marker={"color": [style.colour(name) for name in names]},
        customdata=[[escaped(name), text] for name, text in zip(names, exact, strict=True)],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def same_top(run: Run) -> float:
    """Share of the tokens at which the run has the reference's most likely token. The run has differences."""
    return mean([it.same_top for it in run.differences]) or 0.0


def probabilities(comparison: Comparison) -> go.Figure:
    """For each variant and the reference the probability of each token of the reference's answer."""
    runs = compared(comparison)
    if not runs:
        return _nothing(comparison)
    longest = max(runs, key=lambda run: len(run.differences))
    drawn = go.Figure(_line(comparison.reference, [it.reference_probability for it in longest.differences], longest,
                            remark=" (reference)"))  # fmt: skip
    for run in runs:
        drawn.add_trace(_line(run.precision, [it.probability for it in run.differences], run))
    if parted := _parted(runs):
        drawn.add_trace(_partings(parted).update(
            y=[run.differences[place].probability for run, place in parted], marker_symbol="circle-open"
        ))  # fmt: skip
    style.laid_out(drawn, 300 + style.legend_height(len(drawn.data)))
    return drawn.update_layout(
        xaxis=style.axis(
            title_text=_tokens_of(comparison),
            showgrid=False,
            nticks=10,
            range=[-1, len(longest.differences)],
        ),
        yaxis=style.axis(title_text="probability", range=[-0.02, 1.02], tickformat=".0%"),
    )


def _line(precision: str, values: list[float], run: Run, remark: str = "") -> go.Scatter:
    seen = style.look(precision)
    return go.Scatter(
        name=escaped(shortened(precision, 20)) + remark, mode="lines+markers", x=list(range(len(values))), y=values,
        line={"color": seen.colour, "dash": seen.dash, "width": 1.5},
        marker={"symbol": seen.symbol, "size": 6, "color": seen.colour},
        customdata=[[hover(run.precision, i, it)] for i, it in enumerate(run.differences)],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip
