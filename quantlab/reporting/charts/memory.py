"""Memory of each variant: where its stored bytes lie, and the most it used while it ran."""

from collections.abc import Sequence

import plotly.graph_objects as go

from quantlab.records import PARTS, Comparison, Load, Peak, Run, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.text import escaped

PART_NAMES = {
    "embeddings": "embeddings", "attention": "attention", "mlp": "MLP", "norms": "norms",
    "output_head": "output head", "quantization": "scales", "other": "other",
}  # fmt: skip
# Neutral tones, light beside dark: the hues belong to the precisions.
PART_COLOURS = {
    "embeddings": "#b4bdc9", "attention": "#4d596b", "mlp": "#8b97a7", "norms": "#2f3845",
    "output_head": "#cdd4dd", "quantization": "#66717f", "other": "#a3a3a3",
}  # fmt: skip
_NOTHING = "No precision has loaded, so there is no memory to show. The columns above say why; choose another one."
# A peak on CPU holds the libraries' own memory too. One that is twice the longest bar is marked at the edge.
_FAR, _EDGE = 2.0, 1.45


def figure(comparison: Comparison) -> go.Figure:
    """Stacked bars of `Load.parts`, in bytes, with marks for the peak and for a differing `running_bytes`."""
    loads = {run.precision: run.load for run in comparison.runs if run.error is None and run.load is not None}
    if not loads:
        return style.empty(_NOTHING)
    names = list(loads)
    drawn = go.Figure()
    for part in PARTS:
        if any(load.parts.get(part) for load in loads.values()):
            drawn.add_trace(_part(part, loads))
    longest = max(max(load.stored_bytes, load.running_bytes) for load in loads.values())
    running = {name: load for name, load in loads.items() if load.running_bytes != load.stored_bytes}
    if running:
        drawn.add_trace(_running(running))
    peaks = [
        (run.precision, run.peak, run.peak.bytes) for run in comparison.runs
        if run.precision in loads and run.peak and run.peak.bytes is not None
    ]  # fmt: skip
    far = any(most > _FAR * longest for *_, most in peaks)
    if peaks:
        drawn.add_trace(_peaks(peaks, longest))
    marks = [x for trace in drawn.data if trace.type == "scatter" for x in trace.x]
    end = max([longest, *marks])
    labels = [style.label(name, units.size(load.stored_bytes)) for name, load in loads.items()]
    note = "▶ peak beyond the edge" if far else ""
    style.laid_out(drawn, 115 + 44 * len(names) + style.legend_height(len(drawn.data)), note)
    return drawn.update_layout(
        barmode="stack", bargap=0.35, uniformtext={"minsize": 10, "mode": "hide"},
        xaxis=style.axis(range=[0, end * 1.04], tickformat="~s", ticksuffix="B", nticks=6),
        yaxis=style.rows_axis(names, labels),
    )  # fmt: skip


def _part(part: str, loads: dict[str, Load]) -> go.Bar:
    sizes = [load.parts.get(part, 0) for load in loads.values()]
    shares = [units.percent(n / load.stored_bytes if load.stored_bytes else None)
              for n, load in zip(sizes, loads.values(), strict=True)]  # fmt: skip
    fill = PART_COLOURS[part]
    return go.Bar(
        name=PART_NAMES[part], orientation="h", y=list(loads), x=sizes,
        text=[PART_NAMES[part]] * len(sizes), textposition="inside", insidetextanchor="middle", textangle=0,
        insidetextfont={"color": max("#ffffff", "#111111", key=lambda ink: style.contrast(ink, fill)), "size": 11},
        marker={"color": fill, "line": {"color": style.GREY, "width": 1},
                "pattern": {"shape": "/" if part == "quantization" else "", "size": 6,
                            "fgcolor": "#e5e7eb", "bgcolor": fill}},
        customdata=[[escaped(name), units.exact_bytes(n), share]
                    for name, n, share in zip(loads, sizes, shares, strict=True)],
        hovertemplate=f"%{{customdata[0]}}<br>{PART_NAMES[part]}: %{{customdata[1]}} (%{{customdata[2]}})"
                      "<extra></extra>",
    )  # fmt: skip


def _running(loads: dict[str, Load]) -> go.Scatter:
    return go.Scatter(
        name="while running", mode="markers", y=list(loads),
        x=[load.running_bytes for load in loads.values()],
        marker={"symbol": "line-ns-open", "size": 22, "color": [style.colour(name) for name in loads],
                "line": {"width": 3}},
        customdata=[[escaped(name), units.exact_bytes(load.running_bytes), escaped(" ".join(load.notes))]
                    for name, load in loads.items()],
        hovertemplate="%{customdata[0]}<br>while running: %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    )  # fmt: skip


def _peaks(peaks: Sequence[tuple[str, Peak, int]], longest: int) -> go.Scatter:
    """Of each precision its peak and the one figure of it."""
    far = [most > _FAR * longest for *_, most in peaks]
    estimate = any(peak.estimate for _, peak, _ in peaks)
    colours = [style.colour(name) for name, *_ in peaks]
    return go.Scatter(
        name="peak (estimate)" if estimate else "peak", mode="markers+text", y=[name for name, *_ in peaks],
        x=[longest * _EDGE if beyond else most for (*_, most), beyond in zip(peaks, far, strict=True)],
        text=[units.size(most) if beyond else "" for (*_, most), beyond in zip(peaks, far, strict=True)],
        textposition="middle left", textfont={"color": style.GREY},
        marker={"symbol": ["triangle-right" if beyond else "x-thin-open" for beyond in far], "size": 11,
                "color": colours, "line": {"width": 2, "color": colours}},
        customdata=[[escaped(name), peak_text(peak)] for name, peak, _ in peaks],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def peak_text(peak: Peak) -> str:
    """All figures of a peak with every byte, one on a line of markup; an estimate is called one."""
    figures = {"resident (an estimate)": peak.resident, "allocated": peak.allocated,
               "reserved": peak.reserved, "process": peak.process, "on the GPU (an estimate)": peak.device}  # fmt: skip
    return "<br>".join(f"peak, {name}: {units.exact_bytes(n)}" for name, n in figures.items() if n is not None)


def table(comparison: Comparison) -> Table:
    """The twin of `figure`, with the KV cache and the bits for one weight."""
    parts = [part for part in PARTS if any(run.load and run.load.parts.get(part) for run in comparison.runs)]
    columns = (
        "precision", *(PART_NAMES[part] for part in parts), "stored", "running", "peak", "KV cache",
        "bits per weight, whole model", "bits per weight, quantized layers", "note",
    )  # fmt: skip
    rows = tuple(
        absent(run, len(columns), "not loaded") if run.error is not None or run.load is None
        else _row(run, run.load, parts) for run in comparison.runs
    )  # fmt: skip
    return Table(columns, rows, "Memory by precision. The parts add up to what is stored; MB = 1,000,000 bytes.")


def _row(run: Run, load: Load, parts: list[str]) -> tuple[str, ...]:
    peak = units.size(run.peak.bytes if run.peak else None)
    if run.peak and run.peak.bytes is not None and run.peak.estimate:
        peak += " (estimate)"
    return (
        run.precision, *(units.size(load.parts.get(part, 0)) for part in parts), units.size(load.stored_bytes),
        units.size(load.running_bytes), peak, units.size(run.kv_cache_bytes), units.bits(load.bits_per_weight),
        units.bits(load.bits_per_quantized_weight), reason(run, " ".join(load.notes)),
    )  # fmt: skip
