"""A comparison or a quality run in the cell of a notebook: the report in small, without a script.

Notebooks show what they do not trust without its scripts, so the charts here are bars of plain HTML over the same
figures as the tables. Colours of text and ground are the notebook's own, whatever its theme.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quantlab.export.common import model_data
from quantlab.fidelity.summary import with_error
from quantlab.measure import trust
from quantlab.measure.statistics import mean
from quantlab.records import Comparison, Quality, QualityRun, Run, units
from quantlab.reporting.advice import KLD_BOUND, advise, one_prompt
from quantlab.reporting.charts import quality_map, style
from quantlab.reporting.charts.registry import charts_of
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.html import answer
from quantlab.reporting.html.sections import Section, tabled
from quantlab.reporting.templates import Pieces

_PIECES = Pieces("reporting/html/cell.html")


@dataclass(frozen=True)
class Bar:
    """One precision's figure: `percent` of the largest, and `text` with its unit."""

    name: str
    glyph: str
    colour: str
    percent: float
    text: str


@dataclass(frozen=True)
class Bars:
    """A chart of one figure of each precision. The table has the same figures."""

    title: str
    bars: tuple[Bar, ...]
    note: str = ""


def cell(record: Comparison | Quality) -> str:
    """The record as HTML for a cell: it loads nothing, holds no script, and escapes every text."""
    comparison = record if isinstance(record, Comparison) else None
    own = _of_comparison(record) if isinstance(record, Comparison) else _of_quality(record)
    machine = record.machine
    machine_told = f"{machine.device}, {units.counted(machine.cores, 'core')}"
    facts = f"reference {record.reference} · {machine_told} · {record.started:%Y-%m-%d %H:%M}"
    html = _PIECES.cell(
        title=f"{'Comparison' if comparison else 'Quality'} of {model_data(record.model)['name']}",
        facts=facts,
        caution=record.model.caution,
        prompt=comparison.prompt if comparison else None,
        answers=[answer(comparison, run) for run in comparison.runs] if comparison else [],
        failed=[] if comparison else [run for run in record.runs if run.error or run.stopped],
        more=[
            found
            for chart in charts_of(record)
            if (found := tabled(chart, record)) and found.table != own["figures"].table
        ],
        **own,
    )
    return str(html)  # no longer one that escapes what is put beside it


def _of_comparison(comparison: Comparison) -> dict[str, Any]:
    runs = [run for run in comparison.runs if run.error is None]
    said = (one_prompt.which(comparison), trust.said(runs))
    few = dict.fromkeys(trust.few(len(run.differences)) for run in runs if run.differences)
    charts = (
        *_costs(runs),
        _bars(
            f"Distance from {comparison.reference} (mean KLD)",
            [run for run in runs if run.precision != comparison.reference],
            one_prompt.distance,
            lambda run: units.nats(one_prompt.distance(run)),
            " ".join(filter(None, few)),
        ),
    )
    return {"charts": _drawn(charts), "figures": _figures(comparison), "sentences": list(filter(None, said))}


def _of_quality(quality: Quality) -> dict[str, Any]:
    runs = [run for run in quality.runs if run.error is None]
    charts = [
        *_costs(runs),
        _bars(
            f"Distance from {quality.reference} (mean KLD)",
            [run for run in runs if run.precision != quality.reference],
            lambda run: run.fidelity.kld.mean if run.fidelity else None,
            lambda run: with_error(run.fidelity.kld.mean, run.fidelity.kld.se, "nats") if run.fidelity else units.NONE,
            quality.floor,
        ),
    ]
    for task in quality.tasks:
        scored = [run for run in runs if task in run.tasks]
        charts.append(_bars(f"{task}: right answers", scored, *_accuracy(task)))
    figures = Section.of("Figures", quality_map.table(quality))
    return {"charts": _drawn(charts), "figures": figures, "sentences": advise(quality, KLD_BOUND).sentences}


def _accuracy(task: str) -> tuple[Callable[[Any], float], Callable[[Any], str]]:
    return lambda run: run.tasks[task].acc, lambda run: units.percent(run.tasks[task].acc)


def _costs(runs: Sequence[Run] | Sequence[QualityRun]) -> tuple[Bars, Bars]:
    return (
        _bars(
            "Memory (stored)",
            runs,
            lambda run: run.load.stored_bytes if run.load else None,
            lambda run: units.size(run.load.stored_bytes),
        ),
        _bars("Decode speed", runs, lambda run: run.decode_tokens_per_s, trust.speed, _doubts(runs)),
    )


def _doubts(runs: Sequence[Any]) -> str:
    return trust.verdict(runs).why_not


def _bars(
    title: str,
    runs: Iterable[Any],
    value: Callable[[Any], float | None],
    text: Callable[[Any], str],
    note: str = "",
) -> Bars:
    known = [(run, found) for run in runs if (found := value(run)) is not None]
    largest = max((found for _, found in known), default=0)
    bars = []
    for run, found in known:
        look = style.look(run.precision)
        share = max(0.0, min(100.0, 100 * found / largest)) if largest > 0 else 0.0
        bars.append(Bar(run.precision, look.glyph, look.colour, round(share, 1), text(run)))
    return Bars(title, tuple(bars), note)


def _drawn(charts: Iterable[Bars]) -> list[Bars]:
    return [chart for chart in charts if chart.bars]


_COLUMNS = (
    "precision", "stored", "bits per weight", "peak", "KV cache", "time to first token", "decode speed",
    "same most likely token", "mean KLD", "first different token", "note",
)  # fmt: skip


def _figures(comparison: Comparison) -> Section:
    """The figures that the charts and the terminal show, a row each."""
    rows = tuple(_row(comparison, run) for run in comparison.runs)
    prompt, new = len(comparison.prompt_token_ids), comparison.settings.max_new_tokens
    caption = f"{prompt:,} tokens of prompt, at most {new:,} new ones."
    return Section.of("Figures", Table(_COLUMNS, rows, caption))


def _row(comparison: Comparison, run: Run) -> tuple[str, ...]:
    if run.error is not None or (run.load is None and run.served is None):
        return absent(run, len(_COLUMNS), "not loaded")
    reference = run.precision == comparison.reference
    estimate = " (estimate)" if run.peak and run.peak.bytes is not None and run.peak.estimate else ""
    parted = run.first_divergence
    return (
        run.precision,
        units.size(run.load.stored_bytes if run.load else None),
        units.number(run.load.bits_per_weight if run.load else None),
        units.size(run.peak.bytes if run.peak else None) + estimate,
        units.size(run.kv_cache_bytes),
        units.seconds(run.ttft_s) + trust.around(run.ttft_samples),
        trust.speed(run),
        units.percent(mean([it.same_top for it in run.differences])) if run.differences else units.NONE,
        units.nats(one_prompt.distance(run)),
        units.NONE if reference or not run.differences else f"token {parted.index}" if parted else "none",
        reason(run, "the reference" if reference else ""),
    )
