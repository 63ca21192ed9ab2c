"""How the divergence spreads over the tokens: a mean hides that most tokens are untouched and a few are ruined."""

import plotly.graph_objects as go

from quantlab.fidelity import summary
from quantlab.records import Fidelity, Perplexity, Quality, QualityRun, Spread, units
from quantlab.reporting.charts import axes, style
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.text import escaped

# Name, symbol and size of each mark, from the middle outwards. The mean is filled, the quantiles are open.
_MARKS = (
    ("median", "median", "line-ns-open", 16), ("mean", "mean", "diamond", 10), ("90 %", "p90", "circle-open", 9),
    ("99 %", "p99", "square-open", 9), ("99.9 %", "p999", "triangle-up-open", 10), ("largest", "max", "x-thin-open", 9),
)  # fmt: skip
_FLOOR = "noise floor"


def figure(quality: Quality) -> go.Figure:
    """A row for each precision: median, mean, 90th, 99th, 99.9th percentile and largest KLD in nats, on a log axis."""
    runs = summary.compared(quality)
    if not runs:
        return axes.nothing(quality)
    rows = [(run.precision, style.label(run.precision, units.nats(run.fidelity.kld.mean)), run.fidelity.kld,
             style.colour(run.precision)) for run in runs]  # fmt: skip
    if quality.noise_floor is not None:
        spread = quality.noise_floor.kld
        # A name that no precision can have, so that the row is its own.
        rows.append((f"\0{_FLOOR}", f"{_FLOOR}<br>{units.nats(spread.mean)}", spread, style.GREY))
    scale = axes.log_scale(value for *_, spread, _ in rows for value in _values(spread))
    drawn = go.Figure()
    for name, _, spread, colour in rows:
        ends = [scale.place(min(_values(spread))), scale.place(max(_values(spread)))]
        drawn.add_trace(go.Scatter(
            mode="lines", x=ends, y=[name, name], line={"color": colour, "width": 2}, showlegend=False,
            hoverinfo="skip",
        ))  # fmt: skip
    for mark in _MARKS:
        drawn.add_trace(_marks(rows, mark, scale))
        drawn.add_trace(_key(mark))
    names, labels = [name for name, *_ in rows], [label for _, label, *_ in rows]
    style.laid_out(drawn, 140 + 40 * len(rows))
    return drawn.update_layout(
        xaxis=scale.axis(title_text="KLD to the reference, nats", tickangle=0),
        yaxis=style.rows_axis(names, labels, fixed=True),
    )  # fmt: skip


def _values(spread: Spread) -> tuple[float, ...]:
    return tuple(getattr(spread, field) for _, field, *_ in _MARKS)


def _marks(
    rows: list[tuple[str, str, Spread, str]], mark: tuple[str, str, str, int], scale: axes.LogScale
) -> go.Scatter:
    title, field, symbol, size = mark
    values = [getattr(spread, field) for _, _, spread, _ in rows]
    colours = [colour for *_, colour in rows]
    return go.Scatter(
        name=title, mode="markers", showlegend=False,
        x=[scale.place(value) for value in values], y=[name for name, *_ in rows],
        marker={"symbol": symbol, "size": size, "color": colours, "line": {"width": 2, "color": colours}},
        customdata=[[escaped(name.lstrip("\0")), f"{title}: {value:.6g} nats"]
                    for (name, *_), value in zip(rows, values, strict=True)],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def _key(mark: tuple[str, str, str, int]) -> go.Scatter:
    """The mark in the legend, in no precision's colour."""
    title, _, symbol, size = mark
    return go.Scatter(
        name=title, mode="markers", x=[None], y=[None], hoverinfo="skip",
        marker={"symbol": symbol, "size": size, "color": style.GREY, "line": {"width": 2, "color": style.GREY}},
    )  # fmt: skip


COLUMNS = (
    "precision", "mean KLD, with standard error", "median KLD", "90 % below", "99 % below", "99.9 % below",
    "largest KLD", "mean reverse KLD", "same most likely token", "change of probability, mean",
    "change of probability, root mean square", "perplexity", "perplexity against the reference's",
    "logits that are no numbers", "note",
)  # fmt: skip


def table(quality: Quality) -> Table:
    """The twin of `figure`, with all other figures of fidelity: reverse KLD, same top, delta-p, perplexity."""
    rows = [
        absent(run, len(COLUMNS), summary.why_absent(quality, run)) if run.error is not None or run.fidelity is None
        else _row(run.precision, run.fidelity, _note(quality, run, run.fidelity)) for run in quality.runs
    ]  # fmt: skip
    if quality.noise_floor is not None:
        rows.append(_row(_FLOOR, quality.noise_floor, quality.floor))
    text = quality.text
    return Table(COLUMNS, tuple(rows), (
        f"Fidelity to {quality.reference} over {text.scored:,} tokens of {text.name}, in "
        f"{units.counted(text.windows, 'window')} of {text.window_tokens:,}. KLD in nats; "
        "changes of probability in percent points."
    ))  # fmt: skip


def _row(name: str, found: Fidelity, note: str) -> tuple[str, ...]:
    kld, ppl = found.kld, found.ppl
    return (
        name,
        summary.with_error(kld.mean, kld.se),
        *(units.number(value) for value in (kld.median, kld.p90, kld.p99, kld.p999, kld.max)),
        summary.with_error(found.kld_reverse.mean, found.kld_reverse.se),
        units.percent(found.same_top),
        units.number(found.delta_p_mean),
        units.number(found.delta_p_rms),
        # Perplexities differ in their last digits.
        f"{units.number(ppl.value, 5)} ± {_error(ppl.se)}",
        f"{ppl.ratio:.5f} ± {_error(ppl.ratio_se)}",
        f"{found.nonfinite:,}",
        note,
    )


def _error(se: float | None) -> str:
    return "?" if se is None else units.number(se, 2)


def _note(quality: Quality, run: QualityRun, fidelity: Fidelity) -> str:
    if run.precision == quality.reference:
        return reason(run, "the reference")
    found = [f"{units.counted(fidelity.excluded, 'position')} left out"] if fidelity.excluded else []
    return reason(run, ". ".join([*found, *perplexity_remark(fidelity.ppl)]))


def perplexity_remark(ppl: Perplexity) -> list[str]:
    """What must be said of a perplexity below the reference's, else nothing: it is never a gain."""
    return ["perplexity below the reference's is noise"] if ppl.ratio < 1 else []
