"""Accuracy at a task, and the answers that changed: two equal accuracies can hide many flips."""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantlab.fidelity import summary
from quantlab.records import Quality, QualityRun, TaskScore, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table, reason
from quantlab.reporting.text import escaped

_ACCURACY = "Accuracy, with standard error"


def figure(quality: Quality, task: str | None = None) -> go.Figure:
    """Accuracy with its standard error, and beneath it the shares of items lost and won, with McNemar's p.

    `task` None is the first of `quality.tasks`. Raises KeyError for a task that was not asked for.
    """
    if not quality.tasks:
        return style.empty("No task was asked for. Choose one to see accuracies and flips.")
    if task is not None and task not in quality.tasks:
        raise KeyError(task)
    task = task or quality.tasks[0]
    runs = [run for run in quality.runs if run.error is None and task in run.tasks]
    if not runs:
        return style.empty(f"No precision has answered {task}. The table says why; choose others.")
    flipped = [run for run in runs if run.tasks[task].flips_lost is not None and run.precision != quality.reference]
    height = 110 + 50 + 40 * len(runs) + (40 + 40 * len(flipped) if flipped else 0)
    shares = [len(runs), len(flipped)] if flipped else [1]
    titles = (_ACCURACY, f"Flips against {escaped(quality.reference)}: ◀ lost, won ▶")[: len(shares)]
    drawn = make_subplots(rows=len(shares), cols=1, subplot_titles=titles, row_heights=shares,
                          vertical_spacing=64 / height if flipped else 0)  # fmt: skip
    _accuracies(drawn, quality, runs, task)
    if flipped:
        _flips(drawn, flipped, task)
    style.laid_out(drawn, height, _note(runs, task))
    for annotation in drawn.layout.annotations:
        if annotation.text in titles:
            annotation.update(x=0, xanchor="left", font={"size": 13, "color": style.GREY}, yshift=2)
    return drawn.update_layout(showlegend=False)


def _note(runs: list[QualityRun], task: str) -> str:
    items = max(run.tasks[task].items for run in runs)
    return (
        f"{task}: {items:,} items. p is that of McNemar's test: the larger it is, the more likely chance alone makes "
        "such a difference between lost and won."
    )


def _accuracies(drawn: go.Figure, quality: Quality, runs: list[QualityRun], task: str) -> None:
    found = [run.tasks[task] for run in runs]
    names = [run.precision for run in runs]
    for name, score in zip(names, found, strict=True):
        seen = style.look(name)
        drawn.add_trace(go.Scatter(
            name=escaped(name), mode="markers", x=[score.acc], y=[name],
            marker={"symbol": seen.symbol, "size": 10, "color": seen.colour,
                    "line": {"width": 1, "color": seen.colour}},
            error_x={"type": "data", "array": [_finite(score.acc_se)], "color": seen.colour, "thickness": 1.5,
                     "width": 5},
            customdata=[[f"{escaped(name)}<br>{_accuracy_text('accuracy', score.acc, score.acc_se)}<br>"
                         f"{_accuracy_text('by length', score.acc_norm, score.acc_norm_se)}"]],
            hovertemplate="%{customdata[0]}<extra></extra>",
        ), row=1, col=1)  # fmt: skip
    reference = next((run.tasks[task] for run in runs if run.precision == quality.reference), None)
    if reference:
        drawn.add_vline(x=reference.acc, line={"color": style.GREY, "width": 1, "dash": "dot"}, row=1, col=1)
    labels = [style.label(name, units.percent(score.acc)) for name, score in zip(names, found, strict=True)]
    drawn.update_yaxes(style.rows_axis(names, labels, fixed=True), row=1, col=1)
    drawn.update_xaxes(style.axis(tickformat=".1~%", nticks=6, tickangle=0), row=1, col=1)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _accuracy_text(name: str, value: float | None, se: float | None) -> str:
    if value is None or se is None:
        return f"{name}: {units.NONE}"
    return f"{name}: {100 * value:.2f} ± {100 * se:.2f} %"


def _flips(drawn: go.Figure, runs: list[QualityRun], task: str) -> None:
    names, found = [run.precision for run in runs], [run.tasks[task] for run in runs]
    colours = [style.colour(name) for name in names]
    lost, won = (max(getattr(score, field) or 0.0 for score in found) for field in ("flips_lost", "flips_won"))
    for sign, word, field in ((-1, "right with the reference, wrong here", "flips_lost"),
                              (1, "wrong with the reference, right here", "flips_won")):  # fmt: skip
        values = [getattr(score, field) or 0.0 for score in found]
        drawn.add_trace(go.Bar(
            orientation="h", y=names, x=[sign * value for value in values], width=0.6,
            text=[units.percent(value) for value in values], textposition="outside", cliponaxis=False,
            marker={"color": colours, "pattern": {"shape": "/" if sign < 0 else "", "fillmode": "replace", "size": 6,
                                                  "fgcolor": "rgba(255,255,255,0.7)", "bgcolor": colours}},
            customdata=[[escaped(name), f"{word}: {100 * value:.4g} %, {round(value * score.items):,} of "
                         f"{score.items:,} items", p_text(score.mcnemar_p)]
                        for name, value, score in zip(names, values, found, strict=True)],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        ), row=2, col=1)  # fmt: skip
    labels = [style.label(name, p_text(score.mcnemar_p)) for name, score in zip(names, found, strict=True)]
    drawn.update_yaxes(style.rows_axis(names, labels, fixed=True), row=2, col=1)
    # Room for the figures beside the bars, on a narrow page too.
    room = 0.35 * (lost + won) or 0.01
    drawn.update_xaxes(style.axis(range=[-lost - room, won + room], showticklabels=False, showgrid=False,
                                  zeroline=True, zerolinecolor=style.GREY), row=2, col=1)  # fmt: skip
    drawn.update_layout(barmode="overlay")


def p_text(p: float | None) -> str:
    """A p-value as people write it."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


COLUMNS = (
    "precision", "task", "items", "accuracy, with standard error", "accuracy by length, with standard error",
    "flips lost", "flips won", "McNemar's p", "note",
)  # fmt: skip


def table(quality: Quality) -> Table:
    """The twin of `figure`, of all tasks: a row for each task and precision."""
    rows = tuple(_row(quality, run, task) for task in quality.tasks for run in quality.runs)
    caption = (
        f"Accuracy by task. Lost: right with {quality.reference} and wrong here; won: the other way round. McNemar's "
        "p is the probability of such an imbalance where nothing but chance tells the two apart."
        if rows
        else "No task was asked for."
    )
    return Table(COLUMNS, rows, caption)


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _row(quality: Quality, run: QualityRun, task: str) -> tuple[str, ...]:
    score: TaskScore | None = run.tasks.get(task)
    if run.error is not None or score is None:
        return (run.precision, task, *[units.NONE] * (len(COLUMNS) - 3), reason(run, "not answered"))
    return (
        run.precision, task, f"{score.items:,}",
        summary.with_error(100 * score.acc, 100 * score.acc_se, "%"),
        summary.with_error(_hundred(score.acc_norm), _hundred(score.acc_norm_se), "%"),
        units.percent(score.flips_lost), units.percent(score.flips_won),
        p_text(score.mcnemar_p).removeprefix("p ").removeprefix("= ") or units.NONE,
        reason(run, "the reference" if run.precision == quality.reference else ""),
    )  # fmt: skip
