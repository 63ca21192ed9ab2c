"""A training as it goes: its loss, and the memory that it takes by part."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from quantlab.records import units
from quantlab.records.finetuning import TrainingStep
from quantlab.reporting.charts import style
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped

#: What memory is told by, in the order in which it is stacked.
PARTS = {
    "base": "base", "adapters": "adapters", "gradients": "gradients", "optimizer": "optimizer",
    "activations": "activations",
}  # fmt: skip
_COLOURS = {
    "base": "#4a7ebb", "adapters": "#e07914", "gradients": "#0b825d", "optimizer": "#8166ff",
    "activations": "#ece5d3",
}  # fmt: skip
#: Rows of the table of losses, at most: so many are read.
_ROWS = 12


def losses(steps: Sequence[TrainingStep]) -> go.Figure:
    """The loss of each step as dots, and of the rows held out as a line, in nats."""
    told = [step for step in steps if step.held_out_loss is None]
    held = [step for step in steps if step.held_out_loss is not None]
    if not told:
        return style.empty("The first step will appear here.")
    drawn = go.Figure(
        [
            go.Scatter(
                name="rows of the step", x=[it.step for it in told], y=[it.loss for it in told], mode="markers",
                marker={"size": 5, "color": _COLOURS["base"], "symbol": "circle-open"},
                cliponaxis=False,
                hovertemplate="step %{x}: %{y:.3f} nats<extra></extra>",
            ),
            *([_held_out(held)] if held else []),
        ]
    )  # fmt: skip
    style.laid_out(drawn, 300 + style.legend_height(len(drawn.data)))
    end = max(told[-1].steps, told[-1].step)
    return drawn.update_layout(
        xaxis=style.axis(title="step", range=[0, end]), yaxis=style.axis(title="loss, nats", rangemode="tozero")
    )


def _held_out(held: Sequence[TrainingStep]) -> go.Scatter:
    return go.Scatter(
        name="rows held out", x=[it.step for it in held], y=[it.held_out_loss for it in held], mode="lines+markers",
        line={"color": _COLOURS["adapters"], "width": 2}, marker={"size": 8, "symbol": "diamond"}, cliponaxis=False,
        hovertemplate="step %{x}, held out: %{y:.3f} nats<extra></extra>",
    )  # fmt: skip


def loss_table(steps: Sequence[TrainingStep]) -> Table:
    """The twin of `losses`: where the rows held out were read; else every so many steps."""
    shown = [step for step in steps if step.held_out_loss is not None]
    if not shown:
        every = max(1, -(-len(steps) // _ROWS))
        shown = list(steps)[every - 1 :: every]
    rows = tuple(
        (f"{it.step:,}", f"{it.loss:.3f}", units.NONE if it.held_out_loss is None else f"{it.held_out_loss:.3f}")
        for it in shown
    )
    return Table(("step", "loss, nats", "held out, nats"), rows, "Loss as the training goes")


def memory(taken: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """A bar for each way to train, stacked by part, in bytes."""
    if not taken:
        return style.empty("The memory will appear here after the first step.")
    names = list(taken)
    there = [part for part in PARTS if any(parts.get(part) for parts in taken.values())]
    drawn = go.Figure([_bar(part, taken) for part in there])
    labels = [style.label(name, units.size(sum(parts.values()))) for name, parts in taken.items()]
    style.laid_out(drawn, 110 + 44 * len(names) + style.legend_height(len(there)))
    return drawn.update_layout(
        barmode="stack", bargap=0.35, xaxis=style.axis(tickformat="~s", ticksuffix="B", nticks=6),
        yaxis=style.rows_axis(names, labels),
    )  # fmt: skip


def _bar(part: str, taken: Mapping[str, Mapping[str, int]]) -> go.Bar:
    sizes = [parts.get(part, 0) for parts in taken.values()]
    return go.Bar(
        name=PARTS[part], orientation="h", y=list(taken), x=sizes,
        marker={"color": _COLOURS[part], "line": {"color": style.GREY, "width": 1},
                "pattern": {"shape": "\\" if part == "activations" else "", "size": 6,
                            "fgcolor": style.GREY, "bgcolor": _COLOURS[part]}},
        customdata=[[escaped(name), units.exact_bytes(size)] for name, size in zip(taken, sizes, strict=True)],
        hovertemplate=f"%{{customdata[0]}}<br>{PARTS[part]}: %{{customdata[1]}}<extra></extra>",
    )  # fmt: skip


def memory_table(taken: Mapping[str, Mapping[str, int]]) -> Table:
    """The twin of `memory`."""
    there = [part for part in PARTS if any(parts.get(part) for parts in taken.values())]
    rows = tuple(
        (name, *(units.size(parts[part]) if parts.get(part) else units.NONE for part in there),
         units.size(sum(parts.values())))
        for name, parts in taken.items()
    )  # fmt: skip
    return Table(("way", *(PARTS[part] for part in there), "together"), rows, "What training takes, by part")
