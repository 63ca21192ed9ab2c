"""A comparison or a quality run as CSV (a row for each run) and as Markdown. Neither can be read back: JSON can."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quantlab.export import codec
from quantlab.export.common import model_data
from quantlab.export.comparisons import run_data
from quantlab.export.qualities import quality_run_data
from quantlab.measure import trust
from quantlab.measure.statistics import mean, median, percentile
from quantlab.records import Comparison, Machine, Quality, QualityRun, Run, units

_HEAD = ("started", "model", "revision", "device", "reference")
_LOAD = (
    *("stored_bytes", "running_bytes", "bits_per_weight", "bits_per_quantized_weight", "compute_dtype", "kernel"),
    *("load_s", "load_origin", "build_s"),
)
#: The columns of a comparison's CSV. New ones come at the end.
COMPARISON_COLUMNS = (
    *_HEAD,
    *("precision", "error", "stopped"),
    *_LOAD,
    *("ttft_s", "itl_median_s", "itl_p95_s", "decode_tokens_per_s", "prefill_tokens_per_s", "timings_count"),
    *("peak_bytes", "kv_cache_bytes", "bandwidth_share", "nonfinite", "new_tokens", "first_divergence"),
    *("kld_mean", "kld_max", "same_top", "prompt", "text"),
    *("ttft_median_s", "decode_median_tokens_per_s", "ttft_spread", "decode_spread", "answers_timed", "speed_doubt"),
    *("positions", "served", "top_k_kld"),
)
_SPREAD = ("mean", "se", "median", "p90", "p99", "p999", "max")
#: The first columns of a quality run's CSV; those of its tasks follow, `NAME.acc` and so on.
QUALITY_COLUMNS = (
    *_HEAD,
    *("text", "scored", "noise_floor_kld", "precision", "error", "stopped"),
    *_LOAD,
    *("decode_tokens_per_s", "score_tokens_per_s"),
    *(f"kld_{name}" for name in _SPREAD),
    *(f"kld_reverse_{name}" for name in _SPREAD),
    *("same_top", "same_top_se", "delta_p_mean", "delta_p_rms", "ppl", "ppl_se", "ppl_ratio", "ppl_ratio_se"),
    *("nonfinite", "excluded"),
    *("decode_spread", "answers_timed", "speed_doubt", "positions"),
)
TASK_COLUMNS = ("items", "acc", "acc_se", "acc_norm", "acc_norm_se", "flips_lost", "flips_won", "mcnemar_p", "metric")

Row = dict[str, Any]


def to_csv(record: Comparison | Quality) -> str:
    """One row for each run, lines ended by `\\n`; an empty cell where there is no figure, 1 and 0 for yes and no.

    Where a text could be read as a formula by a spreadsheet, an apostrophe goes before it.
    """
    if isinstance(record, Comparison):
        columns: tuple[str, ...] = COMPARISON_COLUMNS
        rows = [_comparison_row(record, run) for run in record.runs]
    else:
        tasks = task_names(record)
        columns = (*QUALITY_COLUMNS, *(f"{task}.{name}" for task in tasks for name in TASK_COLUMNS))
        rows = [_quality_row(record, run) for run in record.runs]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(map(cell, columns))
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return codec.whole(written.getvalue())


def task_names(quality: Quality) -> tuple[str, ...]:
    """The tasks that any run has, in the order in which they were asked for, then the others."""
    asked = dict.fromkeys(quality.settings.tasks)
    found = dict.fromkeys(task for run in quality.runs for task in run.tasks)
    return (*(task for task in asked if task in found), *(task for task in found if task not in asked))


def cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _head(record: Comparison | Quality) -> Row:
    return {
        **{"started": record.started.isoformat(), "model": model_data(record.model)["name"]},
        **{"revision": record.model.revision, "device": record.machine.device, "reference": record.reference},
    }


def _comparison_row(comparison: Comparison, run: Run) -> Row:
    gaps = run.timing.itl_s if run.timing else ()
    klds = [it.kld for it in run.differences]
    return {
        **_head(comparison),
        **{name: value for name, value in run_data(run).items() if name in COMPARISON_COLUMNS},
        "itl_median_s": median(gaps),
        "itl_p95_s": percentile(gaps, 95),
        "peak_bytes": run.peak.bytes if run.peak else None,
        "new_tokens": len(run.token_ids),
        "first_divergence": run.first_divergence.index if run.first_divergence else None,
        "kld_mean": mean(klds),
        "kld_max": max(klds, default=None),
        "same_top": mean([it.same_top for it in run.differences]),
        "prompt": comparison.prompt,
        "text": run.text,
        "ttft_spread": trust.spread(run.ttft_samples),
        "positions": len(klds) or None,
        "served": run.served.address if run.served else None,
        "top_k_kld": run.served.distance if run.served else None,
        **_speed(run),
    }


def _speed(run: Run | QualityRun) -> Row:
    """What tells whether its decode speed bears a claim."""
    if not run.decode_tokens_per_s:
        return {}
    count = len(run.decode_samples) or 1
    return {
        **{"decode_spread": trust.spread(run.decode_samples), "answers_timed": count},
        "speed_doubt": trust.doubt(run) or None,
    }


def _quality_row(quality: Quality, run: QualityRun) -> Row:
    told = quality_run_data(run)
    figures = told.pop("fidelity") or {}
    nested = {
        **{
            f"{name}_{key}": value
            for name in ("kld", "kld_reverse", "delta_p")
            for key, value in figures.get(name, {}).items()
        },
        **{f"ppl_{key}": value for key, value in figures.get("ppl", {}).items()},
        **{f"{task}.{key}": value for task, score in told["tasks"].items() for key, value in score.items()},
    }
    return {
        **told,
        **nested,
        **{name: figures.get(name) for name in ("same_top", "same_top_se", "nonfinite", "excluded")},
        "ppl": nested.get("ppl_value"),
        **_head(quality),
        "text": quality.text.name,
        "scored": quality.text.scored,
        "noise_floor_kld": quality.noise_floor.kld.mean if quality.noise_floor else None,
        "positions": run.fidelity.tokens if run.fidelity else None,
        **_speed(run),
    }


#: Title of a column of the Markdown table, the CSV's column, and what the figure is multiplied by.
_Column = tuple[str, str, float]
_COMPARISON_TABLE: tuple[_Column, ...] = (
    ("stored MB", "stored_bytes", 1e-6),
    ("bits/weight", "bits_per_weight", 1),
    ("peak MB", "peak_bytes", 1e-6),
    ("load s", "load_s", 1),
    ("TTFT ms", "ttft_median_s", 1e3),
    ("ITL median ms", "itl_median_s", 1e3),
    ("decode tok/s", "decode_median_tokens_per_s", 1),
    ("± %", "decode_spread", 100),
    ("mean KLD nats", "kld_mean", 1),
    ("same top %", "same_top", 100),
    ("first difference at token", "first_divergence", 1),
)
_QUALITY_TABLE: tuple[_Column, ...] = (
    ("stored MB", "stored_bytes", 1e-6),
    ("bits/weight", "bits_per_weight", 1),
    ("decode tok/s", "decode_tokens_per_s", 1),
    ("± %", "decode_spread", 100),
    ("mean KLD nats", "kld_mean", 1),
    ("± SE", "kld_se", 1),
    ("KLD 99 %", "kld_p99", 1),
    ("same top %", "same_top", 100),
    ("Δp RMS %", "delta_p_rms", 1),
    ("PPL", "ppl", 1),
    ("PPL ratio", "ppl_ratio", 1),
    ("± SE", "ppl_ratio_se", 1),
)


def to_markdown(record: Comparison | Quality) -> str:
    """A table with the most important figures, a line for each run, under what was measured and on what."""
    model = model_data(record.model)
    revision = f" at {model['revision']}" if model["revision"] else ""
    if isinstance(record, Comparison):
        title, about = "Comparison", [f"Prompt: {line(record.prompt)}"]
        columns, rows = _COMPARISON_TABLE, [_comparison_row(record, run) | _took(run) for run in record.runs]
    else:
        title, about = "Quality", _about_text(record)
        tasks = ((f"{line(task)} acc %", f"{task}.acc", 100.0) for task in task_names(record))
        columns, rows = (*_QUALITY_TABLE, *tasks), [_quality_row(record, run) for run in record.runs]
    machine = record.machine
    lines = [
        f"## {title} of {line(model['name'])}{line(revision)}",
        "",
        *([f"- Weights: {line(record.model.caution)}"] if record.model.caution else []),
        *(f"- {it}" for it in about),
        f"- Reference: {line(record.reference)}",
        f"- Measured {record.started:%Y-%m-%d %H:%M %Z} on {', '.join(map(line, _places(machine)))}",
        f"- Versions: {', '.join(f'{line(name)} {line(version)}' for name, version in record.versions.items())}",
        "",
        *_table(columns, rows, record.runs),
        "",
    ]
    return codec.whole("\n".join(lines))


def _took(run: Run) -> dict[str, float | None]:
    """A table has no room for where a variant came from: one that was in memory has no time of loading there."""
    return {"load_s": run.load.took_s if run.load else None}


def _places(machine: Machine) -> tuple[str, ...]:
    """The processor, the device where that is another one, the system."""
    device = () if machine.device.startswith("cpu") else (machine.device,)
    return (machine.cpu, *device, machine.system)


def _about_text(quality: Quality) -> list[str]:
    text, floor = quality.text, quality.noise_floor
    noise = f"mean KLD {_figure(floor.kld.mean)} nats ({line(quality.floor)})" if floor else line(quality.floor)
    return [
        f"Text: {line(text.name)}, {text.scored:,} tokens scored, {units.counted(text.windows, 'window')} of "
        f"{text.window_tokens:,}",
        f"Noise floor: {noise}",
    ]


def _table(columns: Sequence[_Column], rows: Sequence[Row], runs: Sequence[Run | QualityRun]) -> list[str]:
    titles = ("precision", *(title for title, *_ in columns), "note")
    lines = [titles, ("---", *["---:"] * len(columns), "---")]
    for row, run in zip(rows, runs, strict=True):
        figures = (_figure(row.get(name), scale) for _, name, scale in columns)
        lines.append((line(run.precision), *figures, line(_note(run, row))))
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _note(run: Run | QualityRun, row: Row) -> str:
    """What to know of a run's figures."""
    if run.error:
        return f"{run.error} {run.advice}"
    caution = run.caution if isinstance(run, Run) else None
    doubt = row.get("speed_doubt")
    few = trust.few(row.get("positions") or 0)
    served = " ".join(run.served.said) if isinstance(run, Run) and run.served else ""
    said = ("stopped early" if run.stopped else caution, served, f"speed not compared: {doubt}" if doubt else "")
    return "; ".join(filter(None, (*said, f"KLD and same top {few}" if few else "")))


def _figure(value: float | None, scale: float = 1) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and scale == 1:
        return f"{value:,}"
    value *= scale
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e15 else f"{value:.4g}"


def line(text: str) -> str:
    """`text` in one line of Markdown, in which nothing of it is markup, and nothing steers a terminal."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!$])", r"\\\1", shown)


Writer = Callable[[Comparison | Quality], str]
WRITERS: Mapping[str, Writer] = {"csv": to_csv, "md": to_markdown}
