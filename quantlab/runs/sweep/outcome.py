"""What came of a sweep: its cells out of the history, and the Pareto fronts over all of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from quantlab.fidelity import summary
from quantlab.history import Entry, History
from quantlab.measure import trust
from quantlab.measure.machine import machine, versions
from quantlab.records import Comparison, Placement, Quality, QualityRun, Run
from quantlab.records.swept import Cell, Front, FrontPoint, Measure, Place, Sweep, SweepAsked
from quantlab.reporting.charts.quality_map import Point, front
from quantlab.runs.sweep.planning import Job
from quantlab.runs.sweep.running import Progress
from quantlab.runtime import placement as placements

Value = Callable[[Cell], tuple[float, float | None] | None]


def outcome(history: History, asked: SweepAsked, jobs: Sequence[Job], progress: Progress) -> Sweep:
    """The sweep as far as it is in the history, with what was refused before it could begin."""
    cells = tuple(cell for job in jobs for cell in _cells(history, job, progress))
    return Sweep(
        name=asked.file.stem,
        asked=asked,
        machine=machine(placements.resolve(Placement(asked.device)).device),
        versions=versions(),
        cells=cells,
        fronts=fronts(cells),
        missing=sum(len(job.places) for job in jobs) - len(cells),
    )


def _cells(history: History, job: Job, progress: Progress) -> Iterator[Cell]:
    entry = progress.entries.get(job)
    record = history.get(entry.id) if entry is not None else None
    runs = {run.precision: run for run in record.runs} if record is not None else {}
    refused = progress.refused.get(job)
    for place in job.places:
        run = runs.get(place.precision)
        if run is None and refused is not None:
            yield Cell(place, "failed", refused.what, refused.advice)
        elif run is not None and entry is not None and record is not None:
            yield _cell(place, entry, record, run)


def _cell(place: Place, entry: Entry, record: Comparison | Quality, run: Run | QualityRun) -> Cell:
    if run.error or run.stopped:
        return Cell(place, "failed" if run.error else "stopped", run.error or "", run.advice, entry.id)
    common: dict[str, Any] = {
        "entry": entry.id,
        "reference": run.precision == record.reference,
        "stored_bytes": run.load.stored_bytes if run.load else None,
        "decode_tokens_per_s": run.decode_tokens_per_s,
        "speed_doubt": trust.doubt(run) if run.decode_tokens_per_s else "",
        "notes": run.notes if isinstance(run, QualityRun) else (run.load.notes if run.load else ()),
    }
    if isinstance(record, Quality) and isinstance(run, QualityRun):
        return Cell(place, "done", **common, **_fidelity(record, run), **_accuracy(run))
    same = None
    if isinstance(record, Comparison) and isinstance(run, Run) and run.precision != record.reference:
        theirs = next((it for it in record.runs if it.precision == record.reference and not it.error), None)
        same = None if theirs is None else theirs.token_ids == run.token_ids
    return Cell(place, "done", **common, same_answer=same)


def _fidelity(quality: Quality, run: QualityRun) -> dict[str, Any]:
    found, text = run.fidelity, quality.text
    if found is None:
        return {}
    reference = run.precision == quality.reference
    read = f"{text.digest} {text.tokens} {text.scored} {text.window_tokens}"
    return {
        "kld": 0.0 if reference else found.kld.mean,
        "kld_se": 0.0 if reference else found.kld.se,
        "noise_floor": summary.floor_kld(quality),
        "same_top": found.same_top,
        "perplexity": found.ppl.value,
        "perplexity_se": found.ppl.se,
        "read_as": hashlib.sha256(read.encode()).hexdigest()[:12],
    }


def _accuracy(run: QualityRun) -> dict[str, Any]:
    return {
        "accuracy": {task: score.acc for task, score in run.tasks.items()},
        "accuracy_se": {task: score.acc_se for task, score in run.tasks.items()},
    }


def fronts(cells: Iterable[Cell]) -> tuple[Front, ...]:
    """All Pareto fronts by stored bytes.

    Over all models where the figure means the same for all of them: accuracy at a task, and perplexity on the same
    tokens. The distance to the reference does not, since each model has its own: its fronts are of one model each.
    Speeds have none: they are of one machine at one time.
    """
    done = [cell for cell in cells if cell.outcome == "done" and cell.stored_bytes]
    tasks = dict.fromkeys(task for cell in done for task in cell.accuracy)
    found = [_front("accuracy", task, "all models", done, _of_task(task)) for task in tasks]
    read = [cell for cell in done if cell.place.kind == "text"]
    for (text, _tokens), group in _grouped(read, lambda cell: (cell.place.read, cell.read_as)):
        models = list(dict.fromkeys(cell.place.model for cell in group))
        among = f"{models[0]}" if len(models) == 1 else f"{len(models)} models that read it as the same tokens"
        if len(models) > 1:
            found.append(_front("perplexity", text, among, group, _perplexity))
    for (text, model), group in _grouped(read, lambda cell: (cell.place.read, cell.place.model)):
        found.append(_front("mean KLD", text, model, group, _kld))
    return tuple(it for it in found if len(it.points) > 1)


def _grouped(
    cells: Iterable[Cell], key: Callable[[Cell], tuple[str, str]]
) -> Iterator[tuple[tuple[str, str], list[Cell]]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    yield from groups.items()


def _of_task(task: str) -> Value:
    def value(cell: Cell) -> tuple[float, float | None] | None:
        return (cell.accuracy[task], cell.accuracy_se[task]) if task in cell.accuracy else None

    return value


def _perplexity(cell: Cell) -> tuple[float, float | None] | None:
    return None if cell.perplexity is None else (cell.perplexity, cell.perplexity_se)


def _kld(cell: Cell) -> tuple[float, float | None] | None:
    return None if cell.kld is None else (max(0.0, cell.kld), cell.kld_se)


def _front(measure: Measure, of: str, among: str, cells: Sequence[Cell], value: Value) -> Front:
    """The points of those that have the figure, and which of them no other beats in both."""
    known = {f"{at}": (cell, got) for at, cell in enumerate(cells) if (got := value(cell)) is not None}
    floor = next((cell.noise_floor for cell, _ in known.values() if cell.noise_floor), None)
    points = [
        Point(name, cell.stored_bytes or 0, _loss(measure, got[0]), got[1]) for name, (cell, got) in known.items()
    ]
    best = {it.precision for it in front(points, floor if measure == "mean KLD" else None)}
    return Front(measure, of, among, tuple(_points(known, best)))


def _loss(measure: Measure, value: float) -> float:
    """What is to be small."""
    return 1 - value if measure == "accuracy" else value


def _points(known: Mapping[str, tuple[Cell, tuple[float, float | None]]], best: set[str]) -> Iterator[FrontPoint]:
    for name, (cell, (value, se)) in known.items():
        place = cell.place
        yield FrontPoint(place.model, place.precision, cell.stored_bytes or 0, value, se, name in best)
