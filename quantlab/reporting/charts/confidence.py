"""Divergence by how sure the reference is: a mean is ruled by the tokens at which the reference itself wavers."""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantlab.fidelity import summary
from quantlab.records import Bucket, Quality, QualityRun, units
from quantlab.reporting.charts import axes, shades, style
from quantlab.reporting.charts.difference import CEILING, FLOOR, log_kld
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.text import escaped

_TITLES = ("Mean KLD, nats", "Same most likely token")
_AXIS = "probability that the reference gives its likeliest token"
# A variant that has another likeliest token at half of the places is as dark as a cell becomes.
_MOST_OTHER = 0.5


def figure(quality: Quality) -> go.Figure:
    """Two heat maps, precisions x buckets of the reference's confidence: mean KLD, and share of same top tokens."""
    runs = [run for run in summary.compared(quality) if run.fidelity.buckets]
    if not runs:
        return axes.nothing(quality)
    names = [run.precision for run in runs]
    height = 120 + 2 * (40 + 30 * max(2, len(runs)))
    drawn = make_subplots(rows=2, cols=1, subplot_titles=_TITLES, vertical_spacing=64 / height)
    kld = [[None if it.kld is None else log_kld(it.kld) for it in run.fidelity.buckets] for run in runs]
    other = [[None if it.same_top is None else 1 - it.same_top for it in run.fidelity.buckets] for run in runs]
    klds = [[_number(it.kld) for it in run.fidelity.buckets] for run in runs]
    shares = [[_share(it.same_top) for it in run.fidelity.buckets] for run in runs]
    drawn.add_trace(_cells(runs, kld, klds, (math.log10(FLOOR), math.log10(CEILING))), row=1, col=1)
    drawn.add_trace(_cells(runs, other, shares, (0.0, _MOST_OTHER)), row=2, col=1)
    style.laid_out(drawn, height)
    drawn.update_yaxes(style.rows_axis(names, [style.label(name) for name in names], fixed=True))
    drawn.update_xaxes(style.axis(showgrid=False, type="category", tickangle=0, tickfont={"size": 11}))
    drawn.update_xaxes(title_text=_AXIS, title_font={"size": 11}, row=2, col=1)
    for title in drawn.layout.annotations:
        title.update(x=0, xanchor="left", font={"size": 13, "color": style.GREY}, yshift=2)
    return drawn.update_layout(showlegend=False)


def _number(kld: float | None) -> str:
    return "" if kld is None else units.number(kld, 2)


def _share(share: float | None) -> str:
    """Percent with as many digits as a cell holds; what only rounds to the whole is not called the whole."""
    if share is None:
        return ""
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.3g} %"


def _cells(
    runs: list[summary.Compared], z: list[list[float | None]], texts: list[list[str]], ends: tuple[float, float]
) -> go.Heatmap:
    return go.Heatmap(
        y=[run.precision for run in runs], x=[_range(it) for it in runs[0].fidelity.buckets], z=z, text=texts,
        texttemplate="%{text}", textfont={"color": shades.INK, "size": 11}, zmin=ends[0], zmax=ends[1],
        colorscale=shades.colour_scale(), showscale=False, xgap=2, ygap=2, hoverongaps=False,
        customdata=[[[_hover(run, it)] for it in run.fidelity.buckets] for run in runs],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _range(bucket: Bucket) -> str:
    """The bucket as its edges in percent: "20–40 %"."""
    return f"{100 * bucket.low:g}–{100 * bucket.high:g} %"


def _hover(run: summary.Compared, it: Bucket) -> str:
    head = f"{escaped(run.precision)}<br>reference's confidence {_range(it)}: {units.counted(it.tokens, 'token')}"
    if it.kld is None or it.same_top is None:
        return head
    return f"{head}<br>mean KLD {it.kld:.6g} nats<br>same most likely token: {100 * it.same_top:.6g} %"


def table(quality: Quality) -> Table:
    """The twin of `figure`: KLD, then share of same top tokens, in each bucket."""
    buckets = next((run.fidelity.buckets for run in quality.runs if run.fidelity), ())
    columns = (
        "precision", *(f"KLD at {_range(it)}" for it in buckets), *(f"same token at {_range(it)}" for it in buckets),
        "note",
    )  # fmt: skip
    rows = tuple(_row(quality, run, columns) for run in quality.runs)
    counts = "; ".join(f"{_range(it)}: {it.tokens:,}" for it in buckets)
    caption = (
        f"Mean KLD in nats, and share of tokens with the same most likely token, by the {_AXIS}. "
        f"{f'Tokens: {counts}.' if counts else ''}"
    )
    return Table(columns, rows, caption.strip())


def _row(quality: Quality, run: QualityRun, columns: tuple[str, ...]) -> tuple[str, ...]:
    if run.error is not None or run.fidelity is None or not run.fidelity.buckets:
        return absent(run, len(columns), summary.why_absent(quality, run))
    found = run.fidelity.buckets
    return (
        run.precision, *(units.number(it.kld) for it in found), *(units.percent(it.same_top) for it in found),
        reason(run, "the reference" if run.precision == quality.reference else ""),
    )  # fmt: skip
