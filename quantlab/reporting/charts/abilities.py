"""What a model can still do, precision by precision: the share of right answers at each bundled task."""

import plotly.graph_objects as go

from quantlab.records import Quality, QualityRun, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table, reason

#: The right one of so many endings is chosen by chance.
ENDINGS = 4
_NOTHING = "No task was measured. Choose some under Tasks, and measure again."
#: Colour, symbol and dash of each task, so that none is told by its colour alone.
_LOOKS = (
    ("#029ddc", "square", "solid"), ("#c04b1c", "triangle-up", "dash"), ("#0b825d", "circle", "dot"),
    ("#995abb", "diamond", "dashdot"),
)  # fmt: skip


def figure(quality: Quality) -> go.Figure:
    """A line for each task over the precisions, in their order; percent of right answers, and where guessing lies."""
    runs, names = _measured(quality), quality.tasks
    if not runs or not names:
        return style.empty(_NOTHING)
    drawn = go.Figure([_line(name, place, runs) for place, name in enumerate(names)])
    style.laid_out(drawn, 330)
    drawn.add_hline(y=100 / ENDINGS, line={"color": style.GREY, "width": 1, "dash": "dash"})
    drawn.add_annotation(
        text="guessing", name="guessing", showarrow=False, xref="paper", x=0, xanchor="left", y=100 / ENDINGS,
        yanchor="top",
    )  # fmt: skip
    return drawn.update_layout(
        xaxis=style.axis(type="category", showgrid=False, title_text="fewer and fewer bits"),
        yaxis=style.axis(range=[0, 106], ticksuffix=" %", nticks=6),
    )


def _measured(quality: Quality) -> list[QualityRun]:
    return [run for run in quality.runs if run.tasks]


def _title(task: str) -> str:
    return task.removeprefix("demo_")


def _line(task: str, place: int, runs: list[QualityRun]) -> go.Scatter:
    colour, symbol, dash = _LOOKS[place % len(_LOOKS)]
    there = [run for run in runs if task in run.tasks]
    scores = [run.tasks[task] for run in there]
    return go.Scatter(
        x=[run.precision for run in there], y=[100 * score.acc for score in scores], name=_title(task),
        mode="lines+markers", line={"color": colour, "width": 2, "dash": dash},
        marker={"symbol": symbol, "size": 11, "color": colour},
        error_y={"type": "data", "array": [100 * score.acc_se for score in scores], "color": colour, "thickness": 1},
        hovertemplate="%{x}: %{y:.1f} % right<extra>" + _title(task) + "</extra>",
    )  # fmt: skip


def table(quality: Quality) -> Table:
    """The twin of `figure`, with each figure's standard error."""
    names = quality.tasks
    rows = []
    for run in quality.runs:
        scores = [run.tasks.get(name) for name in names]
        cells = ("-" if it is None else f"{units.percent(it.acc)} ± {units.number(100 * it.acc_se)}" for it in scores)
        rows.append((run.precision, *cells))
    failed = " ".join(reason(run, "") for run in quality.runs if not run.tasks).strip()
    about = f"Right answers, with the standard error. Guessing gets {units.percent(1 / ENDINGS)}."
    return Table(("precision", *map(_title, names)), tuple(rows), f"{about} {failed}".strip())
