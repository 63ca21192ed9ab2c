"""Quality against memory and against speed: what each precision costs, and what it gives up for it."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantlab.fidelity import summary
from quantlab.measure import trust
from quantlab.records import Quality, QualityRun, units
from quantlab.reporting.charts import axes, style
from quantlab.reporting.charts.placing import Place, places
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.text import escaped, shortened

_PANEL = 300
_TITLES = ("Mean KLD in nats, by memory (stored bytes)", "Mean KLD in nats, by decode speed (tokens/s)")
# Sets of tick places in a decade, the fewest first; the first set that puts three into the range is taken.
_STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9))


@dataclass(frozen=True)
class Point:
    """One precision on the map: `x` bytes or tokens/s, mean KLD with its standard error, or None.

    The reference has KLD 0.

    `samples` are those whose median `x` is, where there are several.
    """

    precision: str
    x: float
    kld: float
    se: float | None
    samples: tuple[float, ...] = ()


def by_memory(quality: Quality) -> list[Point]:
    """The precisions whose stored bytes and divergence are known, the reference among them."""
    return _points(quality, lambda run: (run.load.stored_bytes or None) if run.load else None)


def by_speed(quality: Quality) -> list[Point]:
    """The precisions whose decode speed and divergence are known, the reference among them."""
    return _points(quality, lambda run: run.decode_tokens_per_s, lambda run: tuple(filter(None, run.decode_samples)))


def _points(
    quality: Quality,
    measure: Callable[[QualityRun], float | None],
    samples: Callable[[QualityRun], tuple[float, ...]] = lambda _run: (),
) -> list[Point]:
    reference = summary.reference_run(quality)
    runs = [(it.run, max(0.0, it.fidelity.kld.mean), it.fidelity.kld.se) for it in summary.compared(quality)]
    runs += [(reference, 0.0, 0.0)] if reference else []
    return [
        Point(run.precision, x, kld, None if se is None or math.isnan(se) else se, samples(run))
        for run, kld, se in runs if (x := measure(run))
    ]  # fmt: skip


def _alike(_one: Point, _other: Point) -> bool:
    return False


def front(
    points: Sequence[Point],
    floor: float | None,
    more_is_better: bool = False,
    alike: Callable[[Point, Point], bool] = _alike,
) -> list[Point]:
    """The Pareto front, by `x`: no other point is as good in both and better in one.

    Divergences below the noise floor count as equal to it, so that noise puts nothing on the front; so does no lead in
    `x` over a closer point that `alike` calls none.
    """
    sign = -1 if more_is_better else 1
    # The closest of those in the noise would lead by noise: among equals the cheapest leads.
    ordered = sorted(points, key=lambda it: (sign * it.x, max(it.kld, floor or 0.0)))
    kept: list[Point] = []
    for point in ordered:
        if not kept or max(point.kld, floor or 0.0) < max(kept[-1].kld, floor or 0.0):
            while kept and alike(point, kept[-1]):
                kept.pop()
            kept.append(point)
    return sorted(kept, key=lambda it: it.x)


def _front(quality: Quality, points: Sequence[Point], more_is_better: bool) -> list[Point]:
    """The front of memory or of speed; empty where the figures decide nothing."""
    if _few(quality) or (more_is_better and _doubted(quality, points)):
        return []

    def alike(one: Point, other: Point) -> bool:
        return not trust.apart(quality.run(one.precision), quality.run(other.precision))

    return front(points, summary.floor_kld(quality), more_is_better, alike if more_is_better else _alike)


def _doubted(quality: Quality, points: Sequence[Point]) -> str:
    """Why the speeds of these bear no claim; empty where they do."""
    runs = [quality.run(point.precision) for point in points]
    # The note beneath the chart is narrow.
    return trust.verdict([replace(run, precision=shortened(run.precision, 20)) for run in runs]).why_not


def _few(quality: Quality) -> str:
    return trust.few(max((run.fidelity.tokens for run in summary.compared(quality)), default=0))


def figure(quality: Quality) -> go.Figure:
    """Two charts one beneath the other, KLD on a log axis with bars of one standard error, by bytes and by speed.

    Without a single decode speed only the first.
    """
    if not summary.compared(quality):
        return axes.nothing(quality)
    panels = [(by_memory(quality), False), (by_speed(quality), True)]
    shown = [(title, *panel) for title, panel in zip(_TITLES, panels, strict=True) if panel[0]]
    if not shown:
        return style.empty("Neither memory nor speed is known of these runs. Run them again to measure both.")
    height = 90 + len(shown) * (_PANEL + 70)
    drawn = make_subplots(rows=len(shown), cols=1, subplot_titles=[title for title, *_ in shown],
                          vertical_spacing=70 / height if len(shown) > 1 else 0)  # fmt: skip
    floor = summary.floor_kld(quality)
    everything = [point for _, points, _ in shown for point in points]
    bars = [it.kld + (it.se or 0.0) for it in everything] + ([floor] if floor is not None else [])
    scale = axes.log_scale([it.kld for it in everything] + bars, zero=True)
    for row, (_, points, more_is_better) in enumerate(shown, start=1):
        _panel(drawn, row, quality, points, more_is_better, scale)
    style.laid_out(drawn, height, _note(quality))
    for annotation in drawn.layout.annotations:
        if annotation.text in _TITLES:
            annotation.update(x=0, xanchor="left", font={"size": 13, "color": style.GREY}, yshift=2)
    return drawn.update_layout(showlegend=True, margin_t=64, legend_y=1 + 30 / drawn.layout.height)


def _note(quality: Quality) -> str:
    lines = ["Lower is closer to the reference, which lies at 0. Bars: one standard error up and down, all answers' "
             "speeds from side to side."]  # fmt: skip
    if quality.noise_floor is None:
        lines.append(_no_floor(quality))
    else:
        lines.append("What lies in the band is rounding noise: not a difference.")
    return " ".join([*lines, *_withheld(quality)])


def _withheld(quality: Quality) -> list[str]:
    """Why there is no front."""
    if few := _few(quality):
        return [f"No front is drawn: the distance is {few}."]
    if why := _doubted(quality, by_speed(quality)):
        return [f"No front by speed is drawn. {why}"]
    return []


def _no_floor(quality: Quality) -> str:
    return f"Noise floor: {quality.floor or 'not measured'}."


def _panel(
    drawn: go.Figure, row: int, quality: Quality, points: list[Point], more_is_better: bool, scale: axes.LogScale
) -> None:
    low, high = _extent([x for point in points for x in (point.x, *point.samples)])
    floor = summary.floor_kld(quality)
    if floor is not None:
        drawn.add_trace(_band(low, high, scale, floor, row == 1), row=row, col=1)
    corners = _corners(_front(quality, points, more_is_better), more_is_better, scale)
    if corners:
        drawn.add_trace(_front_line(corners, row == 1), row=row, col=1)
    for point in points:
        drawn.add_trace(_marker(quality, point, more_is_better, scale), row=row, col=1)

    def share(x: float, y: float) -> tuple[float, float]:
        return (math.log10(x) - low) / (high - low), (scale.high - math.log10(y)) / (scale.high - scale.low)

    names = [shortened(point.precision, 14) for point in points]
    spots = [share(point.x, scale.place(point.kld)) for point in points]
    lines = list(itertools.pairwise(share(*corner) for corner in corners))
    lines += [
        (share(min(it.samples), scale.place(it.kld)), share(max(it.samples), scale.place(it.kld)))
        for it in points if len(it.samples) > 1
    ]  # fmt: skip
    for point, name, place in zip(points, names, places(spots, names, lines), strict=True):
        drawn.add_annotation(_name(point, name, place, scale), row=row, col=1)
    ticks = _ticks(low, high)
    texts = [_speed(x) if more_is_better else _bytes(x) for x in ticks]
    drawn.update_xaxes(style.axis(type="log", range=[low, high], autorange=False, tickmode="array", tickvals=ticks,
                                  ticktext=texts, tickangle=0), row=row, col=1)  # fmt: skip
    drawn.update_yaxes(scale.axis(), row=row, col=1)


def _name(point: Point, name: str, place: Place, scale: axes.LogScale) -> dict:
    """The name of a point. On a log axis an annotation stands at the logarithm of its place."""
    common = {"x": math.log10(point.x), "y": math.log10(scale.place(point.kld)), "text": escaped(name),
              "font": {"size": 11}, "name": "point", "borderpad": 0}  # fmt: skip
    if not place.leader:
        return common | {"showarrow": False, "xshift": place.right, "yshift": -place.down}
    return common | {"showarrow": True, "ax": place.right, "ay": place.down, "arrowhead": 0, "arrowwidth": 1,
                     "arrowcolor": style.GREY, "standoff": 6}  # fmt: skip


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """From the left to the right edge, as decimal logarithms, with room for names."""
    logs = [math.log10(value) for value in values]
    room = max(0.1, 0.12 * (max(logs) - min(logs)))
    return min(logs) - room, max(logs) + room


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in _STEPS:
        places = [step * 10.0**d for d in decades for step in steps if low <= d + math.log10(step) <= high]
        if len(places) >= 3:
            break
    # More than six names run into each other on a narrow page.
    return places[:: 1 + len(places) // 7]


def _bytes(n: float) -> str:
    return f"{n / 1e9:.4g} GB" if n >= 1e9 else f"{n / 1e6:.4g} MB"


def _speed(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.4g}"


def _band(low: float, high: float, scale: axes.LogScale, floor: float, legend: bool) -> go.Scatter:
    bottom, top = 10**scale.low, scale.place(floor)
    left, right = 10**low, 10**high
    return go.Scatter(
        name=f"noise floor: {units.nats(floor)}", mode="lines", x=[left, right, right, left, left],
        y=[bottom, bottom, top, top, bottom], fill="toself", fillcolor="rgba(128,128,128,0.22)",
        line={"color": style.GREY, "width": 1, "dash": "dot"}, hoverinfo="skip", showlegend=legend, legendgroup="floor",
    )  # fmt: skip


def _corners(best: list[Point], more_is_better: bool, scale: axes.LogScale) -> list[tuple[float, float]]:
    """The front as steps: between two points one has no better than the worse of what they offer."""
    path = [(it.x, scale.place(it.kld)) for it in best[:1]]
    for one, other in itertools.pairwise(best):
        x, y = (one.x, other.kld) if more_is_better else (other.x, one.kld)
        path += [(x, scale.place(y)), (other.x, scale.place(other.kld))]
    return path


def _front_line(corners: list[tuple[float, float]], legend: bool) -> go.Scatter:
    return go.Scatter(
        name="Pareto front", mode="lines", x=[x for x, _ in corners], y=[y for _, y in corners], hoverinfo="skip",
        line={"color": style.GREY, "width": 2}, showlegend=legend, legendgroup="front",
    )  # fmt: skip


def _marker(quality: Quality, point: Point, more_is_better: bool, scale: axes.LogScale) -> go.Scatter:
    seen, se = style.look(point.precision), point.se or 0.0
    lines = [
        escaped(point.precision),
        f"decode: {point.x:,.3f} tok/s{_range(point)}"
        if more_is_better
        else f"stored: {units.exact_bytes(int(point.x))}",
    ]
    if point.precision == quality.reference:
        lines.append("the reference: KLD 0 by definition")
    else:
        error = "?, its error is not known" if point.se is None else f"{point.se:.2g} nats"
        lines.append(f"mean KLD {point.kld:.6g} ± {error}")
        if summary.within_floor(quality, point.kld):
            lines.append("within the noise floor: not a difference")
    return go.Scatter(
        name=escaped(point.precision), mode="markers", x=[point.x], y=[scale.place(point.kld)], showlegend=False,
        marker={"symbol": seen.symbol, "size": 10, "color": seen.colour, "line": {"width": 1, "color": seen.colour}},
        error_y={"type": "data", "symmetric": False, "array": [se], "color": seen.colour, "thickness": 1.5,
                 "arrayminus": [scale.bar_below(point.kld, se)], "width": 4, "visible": se > 0},
        error_x=_error_x(point, seen.colour),
        customdata=[["<br>".join(lines)]], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _error_x(point: Point, colour: str) -> dict:
    """A bar from the smallest sample to the largest."""
    many = len(point.samples) > 1
    return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 4, "visible": many,
            "array": [max(0.0, max(point.samples) - point.x)] if many else [],
            "arrayminus": [max(0.0, point.x - min(point.samples))] if many else []}  # fmt: skip


def _range(point: Point) -> str:
    if len(point.samples) < 2:
        return ""
    return f", {min(point.samples):,.3f} to {max(point.samples):,.3f} in {units.counted(len(point.samples), 'answer')}"


COLUMNS = (
    "precision", "stored", "bits per weight, whole model", "decode", "mean KLD, with standard error",
    "against the noise floor", "on the front of memory", "on the front of speed", "note",
)  # fmt: skip


def table(quality: Quality) -> Table:
    """The twin of `figure`. Runs that are not on the map say why in the last column."""
    fronts = [_on_front(points, _front(quality, points, more))
              for points, more in ((by_memory(quality), False), (by_speed(quality), True))]  # fmt: skip
    known = {run.precision for run in summary.compared(quality)} | {quality.reference}
    rows = tuple(
        _row(quality, run, fronts) if run.error is None and run.precision in known
        else absent(run, len(COLUMNS), summary.why_absent(quality, run)) for run in quality.runs
    )  # fmt: skip
    caption = f"Divergence from {quality.reference} over {quality.text.scored:,} tokens, with memory and decode speed."
    return Table(COLUMNS, rows, f"{caption} {' '.join((_floor_text(quality), *_withheld(quality)))}".strip())


def _on_front(points: list[Point], best: list[Point]) -> dict[str, str]:
    return {point.precision: "yes" if point in best else "no" for point in points} if best else {}


def _floor_text(quality: Quality) -> str:
    if quality.noise_floor is None:
        return _no_floor(quality)
    spread = quality.noise_floor.kld
    return f"Noise floor: {summary.with_error(spread.mean, spread.se, 'nats')}. {quality.floor}".strip()


def _row(quality: Quality, run: QualityRun, fronts: list[dict[str, str]]) -> tuple[str, ...]:
    reference = run.precision == quality.reference
    kld = None if reference or run.fidelity is None else run.fidelity.kld
    against = units.NONE
    if kld and quality.noise_floor is not None:
        floor = quality.noise_floor.kld.mean
        against = (
            "within it: not a difference" if kld.mean <= floor else units.ratio(kld.mean / floor if floor else None)
        )
    return (
        run.precision,
        units.size(run.load.stored_bytes if run.load else None),
        units.bits(run.load.bits_per_weight if run.load else None),
        trust.speed(run),
        summary.with_error(kld.mean, kld.se, "nats") if kld else units.NONE,
        against,
        *(answers.get(run.precision, units.NONE) for answers in fronts),
        reason(run, "the reference" if reference else ""),
    )
