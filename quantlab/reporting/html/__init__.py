"""A comparison or a quality run as one HTML file that needs nothing else: no network, no other file.

It holds plotly.js once, which makes it some 4.9 MB, and forbids itself to load anything. Whatever stands in the
record (a prompt is a visitor's text) is escaped: Jinja does so by itself.
"""

from collections.abc import Sequence
from typing import Any

from quantlab.export.common import model_data
from quantlab.records import Candidate, Comparison, Divergence, Quality, Run, units
from quantlab.reporting.charts import style
from quantlab.reporting.charts.inline import library
from quantlab.reporting.definitions import definitions
from quantlab.reporting.html.sections import sections
from quantlab.reporting.templates import page
from quantlab.reporting.text import cut_at, holds_code, tokens, visible


def html(record: Comparison | Quality, advice: Sequence[str] = ()) -> str:
    """The whole page. `advice` are sentences to put before the charts. Only text that can be encoded as UTF-8."""
    comparison = record if isinstance(record, Comparison) else None
    return page(
        "reporting/html/report.html",
        title=f"{'Comparison' if comparison else 'Quality'} of {model_data(record.model)['name']}",
        record=record,
        comparison=comparison is not None,
        prompt=comparison.prompt if comparison else None,
        facts=_facts(record),
        answers=[answer(comparison, run) for run in comparison.runs] if comparison else [],
        failed=[] if comparison else [run for run in record.runs if run.error or run.stopped],
        advice=advice,
        sections=sections(record),
        definitions=_scrolling(definitions()),
        library=library(),
        chart_css=style.TEXT_CSS,
    )


def _scrolling(definitions: str) -> str:
    """The definitions, their tables in boxes that scroll."""
    box = '<div class="wide" tabindex="0" role="region" aria-label="Definitions"><table>'
    return definitions.replace("<table>", box).replace("</table>", "</table></div>")


def _facts(record: Comparison | Quality) -> list[tuple[str, str]]:
    """What was measured on what, as names and values."""
    model, machine = record.model, record.machine
    return [
        ("Model", f"{model_data(model)['name']}{f' at {model.revision}' if model.revision else ''}"),
        *([("Weights", model.caution)] if model.caution else []),
        ("Reference", record.reference),
        *(_asked(record) if isinstance(record, Comparison) else _read(record)),
        ("Measured", f"{record.started:%Y-%m-%d %H:%M:%S %Z}"),
        ("Processor", f"{machine.cpu}, {units.counted(machine.cores, 'core')}"),
        ("Memory", units.size(machine.memory_bytes)),
        ("Device", f"{machine.device}, {units.size(machine.device_memory_bytes)}"),
        ("Memory bandwidth", "not measured" if machine.bandwidth is None else f"{machine.bandwidth / 1e9:.3g} GB/s"),
        ("System", machine.system),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]


def _asked(comparison: Comparison) -> list[tuple[str, str]]:
    asked = comparison.settings
    drawn = f"temperature {asked.temperature}, top-k {asked.top_k}, top-p {asked.top_p}, seed {asked.seed}"
    raced = " All at once: the times do not count." if asked.race else ""
    prompt, most = (
        units.counted(len(comparison.prompt_token_ids), "token"),
        units.counted(asked.max_new_tokens, "new token"),
    )
    return [
        ("Prompt", f"{prompt}{', no chat template' if asked.raw else ''}"),
        ("Answers", f"at most {most}, {drawn if asked.sample else 'greedy'}.{raced}"),
    ]


def _read(quality: Quality) -> list[tuple[str, str]]:
    text, floor = quality.text, quality.noise_floor
    noise = f"mean KLD {units.nats(floor.kld.mean)}: {quality.floor}" if floor else quality.floor
    return [
        ("Text", f"{text.name}, {text.tokens:,} tokens (sha256 {text.digest[:16]}…)"),
        ("Scored", f"{text.scored:,} tokens, in {units.counted(text.windows, 'window')} of {text.window_tokens:,}"),
        ("Noise floor", noise),
        ("Tasks", ", ".join(quality.tasks) or "none"),
    ]


def answer(comparison: Comparison, run: Run) -> dict[str, Any]:
    """One run's answer, parted where it leaves the reference's, with the five likeliest tokens of both there."""
    parted = run.first_divergence
    same, other = run.text, ""
    if parted is not None and "".join(run.tokens) == run.text:
        same, other = "".join(run.tokens[: parted.index]), "".join(run.tokens[parted.index :])
    look = style.look(run.precision)
    return {
        "run": run,
        "colour": look.colour,
        "glyph": look.glyph,
        "is_reference": run.precision == comparison.reference,
        "same": same,
        "other": other,
        "parted": parted,
        "cut": tokens(cut) if (cut := cut_at(run, comparison.settings.max_new_tokens)) else "",
        "is_code": holds_code(run.text),
        "tops": _tops(parted) if parted else [],
    }


def _tops(parted: Divergence) -> list[tuple[str, str, str, str]]:
    def describe(candidates: tuple[Candidate, ...], at: int) -> tuple[str, str]:
        if at >= len(candidates):
            return units.NONE, units.NONE
        return visible(candidates[at].text), units.percent(candidates[at].probability)

    rows = range(max(len(parted.ours), len(parted.reference)))
    return [(*describe(parted.ours, at), *describe(parted.reference, at)) for at in rows]
