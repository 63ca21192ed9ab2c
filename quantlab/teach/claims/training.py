"""Trains the bundled model for the claims about fine-tuning: a few steps for memory, a whole set for merging."""

import tempfile
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from quantlab.errors import Stopped, Unavailable
from quantlab.fidelity import tasks
from quantlab.finetune.costs import prepare
from quantlab.finetune.job import finetune
from quantlab.finetune.sets import SETS
from quantlab.methods.published import labels
from quantlab.records import Placement, QualitySettings
from quantlab.records.events import Measuring, QualityDone
from quantlab.records.finetuning import FinetuneSettings, Trained, TrainingPreparing, TrainingStarted, TrainingStep
from quantlab.runs.loading import fresh_cache
from quantlab.runs.quality import quality
from quantlab.settings import AppSettings
from quantlab.teach.claims.evidence import Merges, Training
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import Asked

#: The rows that are trained on, and through them the model.
SET = SETS["newcomers"]
#: The claims' own adapters: rank 16 on q_proj and v_proj. Memory is the same at every step after the first.
FEW = FinetuneSettings(steps=3)

Steps = tuple[int, int, str]


def trained(app: AppSettings, stop: threading.Event) -> Generator[Steps, None, Training]:
    """A few steps. Raises Stopped, or what `finetune` raises where it cannot be done here."""
    with tempfile.TemporaryDirectory() as folder:
        started, last, _ = yield from _followed(Path(folder, SET.name), FEW, stop)
    asked = Asked(
        (FEW.precision,), FEW.context, FEW.batch, finetune="qlora", rank=FEW.rank, targets=FEW.targets
    )  # fmt: skip
    planned = planning.planned(SET.model, asked, (), app).finetuned
    if planned is None:
        raise RuntimeError("a training was asked for and not planned")
    return Training(SET.model, FEW.steps, started.trainable, started.parameters, last.memory or {}, planned)


def merged(
    windows: int, stop: threading.Event, settings: FinetuneSettings = SET.settings
) -> Generator[Steps, None, Merges]:
    """An adapter that has learnt the bundled set, merged in each way. Raises as `trained`, and where no task can be
    measured."""
    task = SET.task
    if task is None or (why := tasks.why_none()):
        raise Unavailable(why)
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder, SET.name)
        yield from _followed(adapter, settings, stop)
        found = yield from prepare(SET.model, str(adapter), ("bf16",), stop=stop)
        asked = QualitySettings(
            windows=windows, tasks=(task,), layers=False, reference=found.reference, placement=Placement("auto"),
            noise_floor=False,
        )  # fmt: skip
        runs, measured = {}, 0
        variants = fresh_cache()
        try:
            with closing(quality(SET.model, found.columns, SET.model, asked, stop=stop, variants=variants)) as events:
                for event in events:
                    if isinstance(event, QualityDone):
                        runs = {run.precision: run for run in event.quality.runs}
                        continue
                    measured += type(event).__name__ == "Measured"
                    doing = event.stage if isinstance(event, Measuring) else type(event).__name__.lower()
                    yield measured, len(found.columns), f"merged weights: {doing}"
        finally:
            variants.drop_unused()
        if stop.is_set():
            raise Stopped
        names = labels(found.columns)
        # As `prepare` names them: beside the base, beside the original, merged into each and quantized.
        own, _, *ways = (runs[names[column]] for column in found.columns)
    return Merges(SET.model, settings.precision, settings.steps, task, own, *ways)


def _followed(
    folder: Path, settings: FinetuneSettings, stop: threading.Event
) -> Generator[Steps, None, tuple[TrainingStarted, TrainingStep, Trained]]:
    """A training from its beginning to its end. Raises Stopped where it was stopped before."""
    started, last, end = None, None, None
    yield 0, settings.steps, f"fine-tuning {SET.model}"
    with closing(finetune(SET.model, SET.name, folder, settings, stop=stop)) as events:
        for event in events:
            if isinstance(event, TrainingStarted):
                started = event
            elif isinstance(event, Trained):
                end = event
            elif isinstance(event, TrainingPreparing):
                yield event.done, event.total, f"fine-tuning {SET.model}: {event.what}"
            else:
                last = event
                yield event.step, event.steps, f"fine-tuning {SET.model}"
    if started is None or last is None or end is None or end.stopped or stop.is_set():
        raise Stopped
    return started, last, end
