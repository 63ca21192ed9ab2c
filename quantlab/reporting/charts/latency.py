"""Time of each variant: to the first token, between tokens, and tokens per second."""

from dataclasses import replace

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantlab.measure import trust
from quantlab.measure.statistics import median, percentile
from quantlab.records import Comparison, Run, Timing, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table, absent, race_note, reason
from quantlab.reporting.text import escaped, shortened

_NOTHING = "No precision has answered, so there are no times. The columns above say why; choose another one."
_TITLES = ("Time to first token", "Gaps between tokens (ITL)", "Decode speed, tokens/s")
# Gaps longer than this many times the longest 95th percentile would squeeze all others into a corner.
_FAR = 3.0
# Characters of a name in the note beneath the chart, which is narrow.
_NAME = 20
#: Rows with two lines each; more have one, so that six of them are no taller than a screen.
_ROOMY = 4


def figure(comparison: Comparison, *, noted: bool = True) -> go.Figure:
    """Three charts one beneath the other, in seconds and in tokens per second, with the same rows.

    `noted`: what the speeds say of each other stands under them; without it the twin's `note` has it.
    """
    runs = _timed(comparison)
    if not runs:
        return style.empty(_NOTHING)
    gapped = [run for run in runs if _timing(run).itl_s]
    height = 100 + 3 * (44 + (22 if len(runs) > _ROOMY else 28) * len(runs))
    drawn = make_subplots(rows=3, cols=1, subplot_titles=_TITLES, vertical_spacing=56 / height)
    drawn.add_trace(_first_token(runs), row=1, col=1)
    for run in gapped:
        drawn.add_trace(_gaps(run), row=2, col=1)
    for trace in _marks(gapped):
        drawn.add_trace(trace, row=2, col=1)
    drawn.add_trace(_speed(gapped), row=3, col=1)
    style.laid_out(drawn, height, _note(comparison, _NAME) if noted else "", style.NARROW)
    _arrange(drawn, runs, gapped)
    return drawn


def unnoted(comparison: Comparison) -> go.Figure:
    """The same without the note, of which a phone's width would make many lines."""
    return figure(comparison, noted=False)


def _note(comparison: Comparison, longest: int = 1_000) -> str:
    """What the speeds say of each other, or why they do not; names of at most so many characters."""
    named = [replace(it, precision=shortened(it.precision, longest)) for it in _timed(comparison)]
    return race_note(comparison) or trust.said(named)


def _timed(comparison: Comparison) -> list[Run]:
    return [run for run in comparison.runs if run.error is None and run.timing is not None]


def _timing(run: Run) -> Timing:
    """Of a run that has times."""
    assert run.timing is not None
    return run.timing


def _arrange(drawn: go.Figure, runs: list[Run], gapped: list[Run]) -> None:
    names = [run.precision for run in runs]
    second_lines = (
        [units.seconds(it.ttft_s) + trust.around(it.ttft_samples) for it in runs],
        [units.seconds(median(_timing(it).itl_s)) for it in runs],
        [trust.speed(it) for it in runs],
    )
    for row, lines in enumerate(second_lines, start=1):
        labels = [style.label(name, line) for name, line in zip(names, lines, strict=True)]
        if len(runs) > _ROOMY:
            labels = [label.replace("<br>", "  ") for label in labels]
        # The rows stand even where a run has no bar: a run of one token has a first token and no gaps.
        drawn.update_yaxes(style.rows_axis(names, labels, fixed=True), row=row, col=1)
        unit = {"tickformat": ","} if row == 3 else {"tickformat": "~s", "ticksuffix": "s"}
        drawn.update_xaxes(style.axis(rangemode="tozero", nticks=6, **unit), row=row, col=1)
    if gapped:
        gaps = [_timing(it).itl_s for it in gapped]
        longest = max(map(max, gaps))
        edge = _FAR * max(percentile(each, 95) or 0.0 for each in gaps)
        beyond = sum(gap > edge for each in gaps for gap in each)
        drawn.update_xaxes(range=[0, 1.05 * min(edge, longest)], row=2, col=1)
        if beyond:
            title = f"▶ {beyond} longer gap{'' if beyond == 1 else 's'}, up to {units.seconds(longest)}"
            drawn.update_xaxes(title={"text": title, "font": {"size": 12}}, row=2, col=1)
    drawn.update_layout(showlegend=True, margin_t=64, legend_y=1 + 30 / drawn.layout.height)
    for annotation in drawn.layout.annotations:
        if annotation.text in _TITLES:
            annotation.update(x=0, xanchor="left", font={"size": 13, "color": style.GREY}, yshift=2)


def _first_token(runs: list[Run]) -> go.Bar:
    return go.Bar(
        name="time to first token", orientation="h", showlegend=False, width=0.6,
        y=[it.precision for it in runs], x=[it.ttft_s for it in runs],
        error_x=_bars([it.ttft_samples for it in runs]),
        marker={"color": [style.colour(it.precision) for it in runs]},
        customdata=[[escaped(it.precision), _exact(it), f"{_timing(it).prompt_tokens:,}",
                     units.rate(_timing(it).prefill_tokens_per_s), units.seconds(_timing(it).warmup_ttft_s)]
                    for it in runs],
        hovertemplate="%{customdata[0]}<br>time to first token: %{customdata[1]}<br>%{customdata[2]} prompt tokens, "
                      "%{customdata[3]}<br>first pass, which does not count: %{customdata[4]}<extra></extra>",
    )  # fmt: skip


def _exact(run: Run) -> str:
    """The time to first token, and of what it is the median."""
    told = units.exact_seconds(run.ttft_s)
    return f"{told}, median of {len(run.ttft_samples)} answers" if len(run.ttft_samples) > 1 else told


def _bars(samples: list[tuple[float, ...]]) -> dict:
    """From the smallest sample to the largest, where there are several."""
    middles = [median(each) or 0.0 for each in samples]
    return {"type": "data", "symmetric": False, "color": style.GREY, "thickness": 1.5, "width": 4,
            "visible": any(len(each) > 1 for each in samples),
            "array": [max(each, default=0.0) - it for each, it in zip(samples, middles, strict=True)],
            "arrayminus": [it - min(each, default=0.0) for each, it in zip(samples, middles, strict=True)]}  # fmt: skip


def _gaps(run: Run) -> go.Box:
    samples = _timing(run).itl_s
    colour = style.colour(run.precision)
    return go.Box(
        name=escaped(run.precision), orientation="h", showlegend=False, x=list(samples),
        y=[run.precision] * len(samples), quartilemethod="linear", boxpoints="all", jitter=0.5, pointpos=0, width=0.6,
        hoveron="points", marker={"color": colour, "size": 4, "opacity": 0.5}, line={"color": colour, "width": 1.5},
        fillcolor=style.CLEAR,
        text=[f"{escaped(run.precision)}<br>gap before token {i}: {units.exact_seconds(gap)}"
              for i, gap in enumerate(samples, start=1)],
        hoverinfo="text",
    )  # fmt: skip


def _marks(runs: list[Run]) -> list[go.Scatter]:
    marks = (("median", 50, "line-ns-open", 24), ("95th percentile", 95, "diamond-tall-open", 14))
    traces = []
    for name, percent, symbol, size in marks if runs else ():
        values = [percentile(_timing(run).itl_s, percent) for run in runs]
        traces.append(go.Scatter(
            name=name, mode="markers", x=values, y=[run.precision for run in runs],
            marker={"symbol": symbol, "size": size, "color": style.GREY, "line": {"color": style.GREY, "width": 2.5}},
            customdata=[[escaped(run.precision), units.exact_seconds(value)]
                        for run, value in zip(runs, values, strict=True)],
            hovertemplate=f"%{{customdata[0]}}<br>{name}: %{{customdata[1]}}<extra></extra>",
        ))  # fmt: skip
    return traces


def _speed(runs: list[Run]) -> go.Bar:
    return go.Bar(
        name="decode speed", orientation="h", showlegend=False, width=0.6,
        y=[it.precision for it in runs], x=[it.decode_tokens_per_s for it in runs],
        error_x=_bars([it.decode_samples for it in runs]),
        marker={"color": [style.colour(it.precision) for it in runs]},
        customdata=[[escaped(it.precision),
                     f"{it.decode_tokens_per_s:,.3f} tok/s, {trust.answers(it.decode_samples)}",
                     units.percent(it.bandwidth_share)] for it in runs],
        hovertemplate="%{customdata[0]}<br>decode: %{customdata[1]}<br>"
                      "share of memory bandwidth: %{customdata[2]}<extra></extra>",
    )  # fmt: skip


def speeds(comparison: Comparison) -> go.Figure:
    """The decode speeds alone: tokens per second, from the slowest answer to the fastest."""
    runs = [run for run in _timed(comparison) if _timing(run).itl_s]
    if not runs:
        return style.empty(_NOTHING)
    drawn = style.laid_out(go.Figure([_speed(runs)]), 90 + 40 * len(runs))
    names = [run.precision for run in runs]
    labels = [style.label(run.precision, trust.speed(run)) for run in runs]
    return drawn.update_layout(
        xaxis=style.axis(title_text="tokens per second", rangemode="tozero", nticks=6, tickformat=","),
        yaxis=style.rows_axis(names, labels, fixed=True),
    )


def speeds_table(comparison: Comparison) -> Table:
    """The twin of `speeds`, with the bytes that are read for each token."""
    timed = {it.precision: it for it in _timed(comparison) if _timing(it).itl_s}
    rows = []
    for run in comparison.runs:
        if run.precision not in timed:
            rows.append(absent(run, 4, "no times"))
            continue
        nbytes = units.size(run.load.running_bytes if run.load else None)
        rows.append((run.precision, trust.speed(run), nbytes, reason(run, trust.answers(run.decode_samples))))
    note = _note(comparison)
    about = f"Decode speed by precision. {note}".strip()
    return Table(("precision", "decode speed", "weights in memory", "measured"), tuple(rows), about, note)


COLUMNS = (
    "precision", "load", "loaded from", "time to first token, warm-up", "time to first token (TTFT)",
    "gap between tokens (ITL), median", "gap between tokens (ITL), 95th percentile", "decode", "prefill",
    "share of memory bandwidth", "decode speed against the reference", "note",
)  # fmt: skip
ORIGINS = {"built": "model files", "disk": "disk, already quantized", "memory": "memory"}


def table(comparison: Comparison) -> Table:
    """The twin of `figure`, with the load, and how each decode speed relates to the reference's where both bear it."""
    timed = {it.precision: it for it in _timed(comparison)}
    reference = timed.get(comparison.reference)
    rows = tuple(
        _row(timed[run.precision], reference) if run.precision in timed else absent(run, len(COLUMNS), "no times")
        for run in comparison.runs
    )
    note = _note(comparison)
    return Table(COLUMNS, rows, f"Time by precision; the reference is {comparison.reference}. {note}".strip(), note)


def _row(run: Run, reference: Run | None) -> tuple[str, ...]:
    timing, load = _timing(run), run.load
    doubt = trust.doubt(run) if run.timings_count and run.decode_tokens_per_s else ""
    why = f"speed not compared: {doubt}" if doubt else ""
    return (
        run.precision,
        units.seconds(load.took_s if load else None),
        ORIGINS[load.load_origin] if load else units.NONE,
        units.seconds(timing.warmup_ttft_s),
        units.seconds(run.ttft_s) + trust.around(run.ttft_samples),
        units.seconds(median(timing.itl_s)),
        units.seconds(percentile(timing.itl_s, 95)),
        trust.speed(run),
        units.rate(timing.prefill_tokens_per_s),
        units.percent(run.bandwidth_share),
        trust.relation(run, reference),
        reason(run, why if run.timings_count else "taken in a race, does not count"),
    )
