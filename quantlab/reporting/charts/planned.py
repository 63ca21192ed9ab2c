"""The memory that a plan foresees: a bar for each precision by part, and a line where the card ends."""

import plotly.graph_objects as go

from quantlab.records import PARTS, Card, Plan, Planned, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.memory import PART_COLOURS, PART_NAMES
from quantlab.reporting.charts.table import Table
from quantlab.reporting.text import escaped

#: What comes on top of the weights' parts. Light, and hatched: activations are an estimate.
BESIDE = {"kv": "KV cache", "activations": "activations (estimate)"}
#: Names in the legend: on a phone two stand in a line, which holds no longer ones (`style.legend_height`).
_SHORT = PART_NAMES | {"kv": "KV cache", "activations": "activations"}
_COLOURS = PART_COLOURS | {"kv": "#c9b37e", "activations": "#ece5d3"}
_PATTERNS = {"quantization": "/", "activations": "\\"}
_NAMES = PART_NAMES | BESIDE
_NOTHING = "None of these precisions can be had of this model. The lines above say why."


def _bytes(planned: Planned, part: str) -> int:
    beside = {"kv": planned.kv_cache_bytes, "activations": planned.activation_bytes}
    return beside[part] if part in beside else planned.parts.get(part, 0)


def _there(plan: Plan) -> list[Planned]:
    return [planned for planned in plan.precisions if not planned.refused]


def _card(there: list[Planned]) -> Card | None:
    """The card, where the plan is held against one."""
    return there[0].fits[0].card if len(there[0].fits) == 1 else None


def figure(plan: Plan) -> go.Figure:
    """Stacked bars of what each precision takes, in bytes; a line at the memory of the plan's card."""
    there = _there(plan)
    if not there:
        return style.empty(_NOTHING)
    names = [planned.precision for planned in there]
    drawn = go.Figure([_trace(part, there) for part in (*PARTS, *BESIDE) if any(_bytes(it, part) for it in there)])
    labels = [style.label(planned.precision, units.size(planned.total_bytes)) for planned in there]
    style.laid_out(drawn, 125 + 44 * len(names) + style.legend_height(len(drawn.data)))
    card, longest = _card(there), max(planned.total_bytes for planned in there)
    end = longest
    if card is not None and card.nbytes <= 4 * longest:
        end = max(longest, card.nbytes)
        drawn.add_vline(x=card.nbytes, line={"color": style.GREY, "width": 2, "dash": "dash"})
        left = card.nbytes > end / 2
        # Under the axis, where no bar is.
        drawn.add_annotation(
            x=card.nbytes, y=0, yref="paper", yanchor="top", yshift=-22, showarrow=False, name="card",
            text=escaped(f"{card.name}: {units.size(card.nbytes)}"), xanchor="right" if left else "left",
        )  # fmt: skip
    return drawn.update_layout(
        barmode="stack", bargap=0.35,
        xaxis=style.axis(range=[0, end * 1.04], tickformat="~s", ticksuffix="B", nticks=6),
        yaxis=style.rows_axis(names, labels),
    )  # fmt: skip


def _trace(part: str, there: list[Planned]) -> go.Bar:
    sizes = [_bytes(planned, part) for planned in there]
    return go.Bar(
        name=_SHORT[part], orientation="h", y=[planned.precision for planned in there], x=sizes,
        marker={"color": _COLOURS[part], "line": {"color": style.GREY, "width": 1},
                "pattern": {"shape": _PATTERNS.get(part, ""), "size": 6, "fgcolor": style.GREY,
                            "bgcolor": _COLOURS[part]}},
        customdata=[[escaped(it.precision), units.exact_bytes(n), units.percent(n / it.total_bytes)]
                    for it, n in zip(there, sizes, strict=True)],
        hovertemplate=f"%{{customdata[0]}}<br>{_NAMES[part]}: %{{customdata[1]}} (%{{customdata[2]}})<extra></extra>",
    )  # fmt: skip


def table(plan: Plan) -> Table:
    """The twin of `figure`."""
    there = _there(plan)
    parts = [part for part in (*PARTS, *BESIDE) if any(_bytes(planned, part) for planned in there)]
    columns = ("precision", *(_NAMES[part] for part in parts), "together", "KV cache as")
    rows = tuple(
        (it.precision, *(units.size(_bytes(it, part)) for part in parts), units.size(it.total_bytes), it.kv)
        for it in there
    )
    card = _card(there) if there else None
    against = f" {card.name} has {units.size(card.nbytes)}." if card else ""
    return Table(
        columns, rows, f"Planned memory by precision. Activations are an estimate; MB = 1,000,000 bytes.{against}"
    )
