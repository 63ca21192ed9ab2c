"""What is drawn of what was observed, by the kind of it; plotly is imported when something is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from quantlab.models import shapes
from quantlab.records import Comparison, Plan, Quality
from quantlab.records.inside import Inside
from quantlab.teach.lessons import buckets, memory
from quantlab.teach.lessons.acted import Acted
from quantlab.ui.common.panels import Named
from quantlab.ui.lessons import fragments as html
from quantlab.ui.plan import view

KEY = "lesson"


@dataclass(frozen=True)
class Picture:
    """A chart with its table twin under its names, and HTML before it; no chart where `figure` is None."""

    named: Named
    figure: Any = None
    tables: Sequence[Any] = ()
    told: str = ""


def _named(title: str, caption: str) -> Named:
    return Named(KEY, title, caption)


EMPTY = Picture(_named("", ""))


def picture(number: int, record: Any, acted: Acted) -> Picture:
    """Of what lesson `number` shows."""
    if isinstance(record, Inside):
        return _inside(record)
    if isinstance(record, Plan):
        return _plan(record)
    if isinstance(record, Quality):
        return _tasks(record)
    if isinstance(record, Comparison):
        return _speed(record) if number == 5 else _answers(number, record)
    if isinstance(record, tuple):
        card, suited = record
        suited = tuple(replace(each, model=_plain(each.model)) for each in suited)
        return Picture(EMPTY.named, told=view.inverse(suited, card, acted.context, 1))
    return EMPTY


def _plain(name: str) -> str:
    """A published architecture by its own name."""
    return name.removeprefix(shapes.PREFIX)


def _inside(found: Inside) -> Picture:
    from quantlab.reporting.charts import inside as charts

    named = _named(
        "Your numbers and their levels",
        "Above: your numbers. Below: the levels that there are, each with its bucket. A line leads from each number to "
        "the level that it becomes.",
    )
    tables = (charts.values(found), charts.table(found)[0])
    return Picture(named, charts.moves(found), tables, html.told(buckets.told(found)))


def _plan(found: Plan) -> Picture:
    from quantlab.reporting.charts import planned as charts

    named = _named(
        "What you chose, part by part",
        f"{_plain(found.model)} with a text of {found.context:,} tokens. Attention and MLP are two kinds of layers, "
        "norms are small tables between them. On top of the weights come the KV cache, what it remembers of the text, "
        "and activations, what it computes with (an estimate, hatched).",
    )
    return Picture(named, charts.figure(found), (charts.table(found),), html.told(memory.told(found)))


def _tasks(found: Quality) -> Picture:
    from quantlab.reporting.charts import abilities as charts

    named = _named("Right answers", "Of 100 questions, for each precision. The dashed line is guessing.")
    return Picture(named, charts.figure(found), (charts.table(found),))


def _speed(found: Comparison) -> Picture:
    from quantlab.reporting.charts import latency as charts

    named = _named("Speed", "Tokens per second. The thin lines go from the slowest answer to the fastest.")
    return Picture(named, charts.speeds(found), (charts.speeds_table(found),))


def _answers(number: int, found: Comparison) -> Picture:
    told = html.answers(found)
    if number != 1:
        return Picture(EMPTY.named, told=told)
    from quantlab.reporting.charts import memory as charts

    named = _named("Memory", "What the weights take, part by part.")
    return Picture(named, charts.figure(found), (charts.table(found),), told)
