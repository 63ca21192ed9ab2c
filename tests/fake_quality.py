"""An honest stand-in for `quantlab.runs.quality.quality`: the same events in the same order, without torch.

Its figures are those of `tests.quality_examples`; its pace, failures and crash those of a `Script`. It polls `stop`.
"""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quantlab.errors import BadInput
from quantlab.fidelity import tasks
from quantlab.methods.published import labels
from quantlab.records import QualityRun, QualitySettings, Text, TextFacts
from quantlab.records.events import Loaded, Loading, Measured, Measuring, QualityDone, QualityEvent, QualityStarted
from tests.examples import BITS, ERRORS
from tests.quality_examples import TASKS, fidelity, mean_kld, quality, quality_run

if TYPE_CHECKING:
    from tests.fakes import Script

WINDOW, SCORED = 512, 255
#: Read for the noise floor where no column has it.
ROUNDING = "bf16"


def fake_quality(
    model: str,
    precisions: Sequence[str],
    text: Text,
    settings: QualitySettings,
    *,
    stop: threading.Event | None = None,
    script: "Script",
) -> Iterator[QualityEvent]:
    """The events of a quality run, at the script's pace. Raises BadInput as the real one does."""
    stop = stop or threading.Event()
    script.stops.append(stop)
    tasks.check([name for name in settings.tasks if name not in TASKS])
    if model.startswith("shape:"):
        raise BadInput(f"{model} has random weights.", "Choose a model that was trained.")
    words = len(text.content.split())
    if words < WINDOW:
        raise BadInput(f"The text has {words} tokens, and one window takes {WINDOW}.", "Give a longer text.")
    windows = min(settings.windows, words // WINDOW)
    facts = TextFacts(text.name, text.digest, words, windows * SCORED, windows, WINDOW)
    names = tuple(labels(precisions).values())
    # The figures of a published checkpoint are those of nf4.
    order = sorted(names, key=lambda name: (name != settings.reference, -BITS.get(name, 0.0)))
    yield QualityStarted(tuple(order), order[0], facts, quality().model)
    if script.crash:
        raise script.crash
    runs, script.running = {}, script.running + 1
    try:
        extra = [ROUNDING] if settings.noise_floor and ROUNDING not in order else []
        for name in [order[0], *extra, *order[1:]]:
            run = yield from _measure(name, order[0], settings, facts, stop, script)
            if name in order:
                runs[name] = run
                yield Measured(run)
        timed = [run for run in runs.values() if not run.error and not run.stopped]
        for run in timed if len(timed) > 1 and not stop.is_set() else ():
            yield Measuring(run.precision, "again", 0, 1, "answers", None)
            time.sleep(script.gap_s)
        for run in timed if len(timed) > 1 and not stop.is_set() else ():
            runs[run.precision] = replace(run, decode_samples=(*run.decode_samples, run.decode_tokens_per_s))
            yield Measured(runs[run.precision])
    finally:
        script.running -= 1
    found = replace(quality(floor=not stop.is_set()), reference=order[0])
    if not settings.noise_floor and ROUNDING not in order:
        found = replace(found, noise_floor=None, floor="not measured: it was switched off")
    yield QualityDone(replace(found, text=facts, settings=settings, runs=tuple(runs[name] for name in names)))


def _measure(name, reference, settings, facts, stop, script) -> Iterator[QualityEvent]:
    if stop.is_set():
        return QualityRun(name, stopped=True)
    yield Loading(name, 0, 0, "")
    time.sleep(script.load_s)
    if name in script.failing:
        return QualityRun(name, error=ERRORS["int8"][0], advice=ERRORS["int8"][1])
    known = name if name in BITS else "nf4"
    whole = replace(quality_run(known, reference), precision=name)
    yield Loaded(name, whole.load)
    run = QualityRun(name, load=whole.load, notes=whole.load.notes)
    for done in range(0, facts.scored + 1, SCORED):
        if stop.is_set():
            return replace(run, stopped=True)
        yield Measuring(name, "text", done, facts.scored, "tokens", 1.5 if done else None)
        time.sleep(script.gap_s)
        script.written += 1
    figures = fidelity(0.0 if name == reference else mean_kld(known), facts.windows)
    spread = replace(figures.kld, se=figures.kld.mean / math.sqrt(facts.scored))
    return replace(
        whole,
        fidelity=replace(figures, kld=spread),
        tasks={task: whole.tasks[task] for task in settings.tasks if task in whole.tasks},
        layers=whole.layers if settings.layers else (),
    )
