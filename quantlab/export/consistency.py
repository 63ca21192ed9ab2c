"""Whether the figures of an opened file agree with each other: a file changed by hand is told by its contradictions."""

import math

from quantlab.export.codec import wrong
from quantlab.measure.statistics import median
from quantlab.records import Comparison, Fidelity, Quality, QualityRun, Run

# What float64 and its decimal writing may differ by.
_EQUAL = 1e-6


def check(record: Comparison | Quality) -> None:
    """Raises BadInput naming the field for runs without their reference, and for figures that contradict each other."""
    if not record.runs:
        raise wrong("runs", "there are none: nothing was finished")
    if record.reference not in {run.precision for run in record.runs}:
        raise wrong("reference", "no run has this precision")
    loads = [run.load for run in record.runs]
    for i, load in enumerate(loads):
        if load is not None and sum(load.parts.values()) != load.stored_bytes:
            raise wrong(f"runs[{i}].parts", "they do not add up to stored_bytes")
    if isinstance(record, Quality):
        _check_text(record)
        for i, quality_run in enumerate(record.runs):
            _check_run(record, quality_run, f"runs[{i}]")
    else:
        for i, run in enumerate(record.runs):
            _check_samples(run, f"runs[{i}]")


def _check_samples(run: Run, where: str) -> None:
    """The answer that is shown is the first of those that were timed."""
    timing = run.timing
    shown = {
        "ttft": timing.ttft_s if timing else None,
        "decode": timing.decode_tokens_per_s if timing else None,
    }
    for name, samples in (("ttft", run.ttft_samples), ("decode", run.decode_samples)):
        if samples and (shown[name] is None or not _equal(samples[0], shown[name])):
            raise wrong(f"{where}.{name}_samples", "the first of them is not the shown answer's")


def _check_text(record: Quality) -> None:
    text = record.text
    if text.windows * text.window_tokens > text.tokens:
        raise wrong("text.windows", "so many do not fit into the text's tokens")
    if text.scored > text.windows * text.window_tokens:
        raise wrong("text.scored", "there are not so many tokens in the windows")


def _check_run(record: Quality, run: QualityRun, where: str) -> None:
    samples = run.decode_samples
    if samples and not _equal(run.decode_tokens_per_s, median(samples)):
        raise wrong(f"{where}.decode_tokens_per_s", "it is not the median of decode_samples")
    for name, score in run.tasks.items():
        if score.correct and len(score.correct) != score.items:
            raise wrong(f"{where}.tasks.{name}.correct", f"there are not {score.items:,} items")
    if run.fidelity is not None:
        _check_fidelity(record, run.fidelity, f"{where}.fidelity")


def _check_fidelity(record: Quality, found: Fidelity, where: str) -> None:
    text, reference = record.text, record.run(record.reference).fidelity
    if found.tokens + found.excluded != text.scored:
        raise wrong(f"{where}.tokens", "they are not those that the text says were scored")
    if len(found.window_kld) != text.windows:
        raise wrong(f"{where}.window_kld", f"there are not {text.windows:,} windows")
    # Where positions were left out, the two perplexities are of different tokens.
    if reference is None or found.excluded or reference.excluded:
        return
    if not _equal(found.ppl.ratio * reference.ppl.value, found.ppl.value):
        raise wrong(f"{where}.ppl.ratio", "it is not the perplexity over the reference's")


def _equal(one: float | None, other: float | None) -> bool:
    """Whether two figures are the same; a figure that is none contradicts nothing."""
    if one is None or other is None or not math.isfinite(one) or not math.isfinite(other):
        return True
    return math.isclose(one, other, rel_tol=_EQUAL, abs_tol=1e-300)
