"""A sweep run to its end, job by job, into one history; begun again it goes on where it was."""

import json
import logging
import queue
import shutil
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from quantlab.errors import BadInput, Broken, QuantlabError, Stopped, Unavailable, is_exit
from quantlab.history import Entry, History
from quantlab.records import ComparisonRequest, QualityRequest, QualityRun, Run
from quantlab.records.events import (
    Event,
    Finished,
    Loading,
    Measured,
    Measuring,
    NotKept,
    QualityEvent,
    ReferenceMoved,
    Token,
    TriedAgain,
)
from quantlab.records.swept import CellBegun, CellEnded, CellTold, Outcome, SweepEvent, SweepEvents, SweepStarted
from quantlab.runs.recorded import Earlier, Elsewhere, asked_of, recorded_compare, recorded_quality, resumed
from quantlab.runs.sweep.planning import Job

log = logging.getLogger(__name__)
_HISTORY = "history.sqlite"
#: More entries than any sweep has.
_ALL = 10**7


@dataclass
class Progress:
    """What is known of a sweep's jobs: `entries` in the history, by job; `refused` are those that could not begin."""

    entries: dict[Job, Entry] = field(default_factory=dict)
    refused: dict[Job, QuantlabError] = field(default_factory=dict)


@contextmanager
def opened(folder: Path) -> Iterator[History]:
    """The sweep's own history in its folder, for one process at a time. Raises BadInput, Unavailable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        with lock.acquire(timeout=0):
            # No limit: what goes on for weeks must not lose what it began with.
            history = History(folder / _HISTORY)
            history.mark_interrupted()
            yield history
    except Timeout as error:
        raise BadInput(f"The sweep in {folder} is being worked on.", "Wait for its end, or stop it.") from error
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror}.", "Name another by --out.") from error


@contextmanager
def looked_into(folder: Path) -> Iterator[History | None]:
    """A copy of the sweep's history, to be read while nothing is written into the folder; None where there is none."""
    with TemporaryDirectory(prefix="quantlab-") as aside:
        copied = Path(aside, _HISTORY)
        try:
            for ending in ("", "-wal"):  # in the second is what is not in the file yet
                with suppress(FileNotFoundError, NotADirectoryError):
                    shutil.copyfile(f"{folder / _HISTORY}{ending}", f"{copied}{ending}")
        except OSError as error:
            raise Unavailable(f"{folder} cannot be read: {error.strerror}.", "Check its rights.") from error
        yield History(copied) if copied.is_file() else None


def found(history: History, jobs: tuple[Job, ...]) -> dict[Job, Entry]:
    """The newest entry of each job that has one, by what was asked for."""
    by_asked: dict[str, Entry] = {}
    for entry in history.entries(limit=_ALL):
        by_asked.setdefault(_key(history.asked(entry.id)), entry)
    keys = {job: _key(asked_of(job.request)) for job in jobs}
    return {job: by_asked[key] for job, key in keys.items() if key in by_asked}


def _key(asked: Mapping[str, Any]) -> str:
    return json.dumps(asked, sort_keys=True)


def run(
    history: History,
    jobs: tuple[Job, ...],
    progress: Progress,
    *,
    stop: threading.Event | None = None,
    retry: bool = False,
    on: Elsewhere | None = None,
    at_once: int = 1,
) -> SweepEvents:
    """Run what is not there yet; `progress` is filled as it goes. `retry`: what failed is measured once more.

    A job that fails, also by a defect, takes no other with it. Setting `stop` ends the sweep soon. `on` runs the
    columns elsewhere, those of so many jobs `at_once`. Raises Unavailable where the history can keep nothing more: to
    go on would be in vain.
    """
    stop = stop or threading.Event()
    progress.entries.update(found(history, jobs))
    begun = progress.entries
    yield _started(jobs, begun, retry)
    left = [it for it in jobs if it not in begun or begun[it].state != "done" or (retry and begun[it].failed)]
    work = _Work(history, progress, stop, on, retry)
    try:
        if at_once == 1:
            for job in left:
                yield from work.one(job)
        else:
            yield from _together(work, left, at_once)
    finally:
        progress.entries.update(found(history, jobs))


@dataclass(frozen=True)
class _Work:
    """What the jobs of one sweep have in common."""

    history: History
    progress: Progress
    stop: threading.Event
    on: Elsewhere | None
    retry: bool

    def one(self, job: Job) -> SweepEvents:
        """A job to its end, whatever that is."""
        if self.stop.is_set():
            return
        entry, ended = self.progress.entries.get(job), set[str]()
        try:
            there = _there(entry, self.retry) if entry else set()
            for event in _told(job, _events(self.history, job, entry, self.stop, self.on), there):
                if isinstance(event, CellEnded):
                    ended.add(event.place.precision)
                yield event
        except (Stopped, _NotKept) as error:
            if isinstance(error, _NotKept):
                raise
        except QuantlabError as error:
            yield from self._refused(job, error, ended)
        except BaseException as error:
            if is_exit(error):
                raise
            log.exception("a job of the sweep broke: %s", job.request.model)
            what = f"It broke: {type(error).__name__}."
            broken = Broken(what, "A defect, not your doing; the log has its traceback.")
            yield from self._refused(job, broken, ended)

    def _refused(self, job: Job, error: QuantlabError, ended: set[str]) -> SweepEvents:
        """The error is that of all cells of the job that had no end of their own, now or earlier."""
        self.progress.refused[job] = error
        entry = self.progress.entries.get(job)
        there = ended | set(entry.finished if entry else ())
        yield from (CellEnded(it, "failed", str(error)) for it in job.places if it.precision not in there)


def _together(work: _Work, jobs: list[Job], at_once: int) -> SweepEvents:
    """So many jobs at once, each in a thread; what they tell comes through one queue."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    told: queue.SimpleQueue[SweepEvent | BaseException | None] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def go_on() -> None:
        try:
            while True:
                for event in work.one(waiting.get_nowait()):
                    told.put(event)
        except queue.Empty:
            told.put(None)
        except BaseException as error:  # handed over whole, and raised by the one who waits
            told.put(error)
            told.put(None)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(min(at_once, len(jobs)))]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            event = told.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                left -= 1
            else:
                yield event
    except BaseException:
        work.stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()


def _started(jobs: tuple[Job, ...], entries: Mapping[Job, Entry], retry: bool) -> SweepStarted:
    cells, earlier = Counter[str](), Counter[str]()
    for job in jobs:
        cells[job.request.model] += len(job.places)
        if job in entries:
            earlier[job.request.model] += len(_there(entries[job], retry))
    return SweepStarted(cells, earlier)


def _there(entry: Entry, retry: bool) -> set[str]:
    """The precisions that are not measured again. What failed is where that is asked for, or the entry gone on with."""
    return set(entry.finished) - (set(entry.failed) if retry or entry.state != "done" else set())


class _NotKept(Unavailable):
    """The history takes nothing more."""


def _events(
    history: History, job: Job, entry: Entry | None, stop: threading.Event, on: Elsewhere | None
) -> Generator[Event | QualityEvent, None, None]:
    """The events of a job: begun, gone on with, or, where it is done, with what failed once more."""
    request = job.request
    if entry is not None and entry.resumable:
        yield from resumed(history, entry.id, stop, on)
        return
    kept = [run for run in history.get(entry.id).runs if not run.error] if entry is not None else []
    if isinstance(request, QualityRequest):
        measured = Earlier(entry.id, tuple(it for it in kept if isinstance(it, QualityRun))) if entry else None
        yield from recorded_quality(history, request, stop=stop, earlier=measured, on=on)
    elif isinstance(request, ComparisonRequest):
        answered = Earlier(entry.id, tuple(it for it in kept if isinstance(it, Run))) if entry else None
        yield from recorded_compare(history, request, stop=stop, earlier=answered, on=on)


def _told(job: Job, events: Generator[Event | QualityEvent, None, None], there: set[str]) -> SweepEvents:
    """What of a job's events a sweep tells: what is under way, once for each step, and the end of each cell. `there`
    are the precisions that were measured earlier."""
    places = {place.precision: place for place in job.places}
    last: dict[str, str] = {}
    ended: set[str] = set()
    with closing(events):
        for event in events:
            match event:
                case Finished(run=done) | Measured(run=done) if done.precision not in ended:
                    ended.add(done.precision)
                    outcome: Outcome = "stopped" if done.stopped else "failed" if done.error else "done"
                    error, earlier = f"{done.error or ''} {done.advice}".strip(), done.precision in there
                    yield CellEnded(places[done.precision], outcome, error, earlier)
                case Loading(precision=name) | Measuring(precision=name) | Token(precision=name) if name in places:
                    what = _what(event)
                    if last.get(name) != what:
                        last[name] = what
                        yield CellBegun(places[name], what)
                case NotKept(why=why):
                    raise _NotKept(f"The sweep's history keeps nothing more. {why}", "Free some room and go on.")
                case ReferenceMoved(why=why) | TriedAgain(why=why):
                    yield CellTold(job.request.model, why)


def _what(event: Event | QualityEvent) -> str:
    if isinstance(event, Measuring):
        return {"again": "speed", "text": "reading"}.get(event.stage, event.stage)
    return "answering" if isinstance(event, Token) else "loading"
