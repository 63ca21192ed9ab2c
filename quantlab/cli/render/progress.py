"""Progress on standard error while something long goes on, and what Ctrl-C does to it."""

import math
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from quantlab.cli.render.screen import Screen, visible
from quantlab.measure import trust
from quantlab.records import QualityRun, Run, events
from quantlab.reporting.text import shortened
from quantlab.runtime.background import result

T = TypeVar("T")
#: Without a terminal the stages of one job are told so often: some have hundreds of layers.
_EVERY_S = 2.0


def follow_steps(steps: Generator[tuple[int, int, str], None, T], stop: threading.Event, head: str = "quantizing") -> T:
    """Show the progress of one long job and return its result. Ctrl-C sets `stop`. Raises what the job raises."""
    with Line(head) as line, interrupt_sets(stop, line):
        line.stage(head)
        return result(steps, lambda step: tell_stage(line, head, *step))


def tell_stage(line: "Line", head: str, done: int, total: int, what: str) -> None:
    """What one long job does at this moment, on the line; where that is no terminal, every few seconds."""
    line.tell(head, done, total, what)
    line.stage(f"{head}: {what}", every_s=_EVERY_S)


def ended(run: Run | QualityRun) -> str:
    """How a column came to its end: "done, 41.2 tok/s ± 3 %"."""
    if run.error:
        return "failed"
    speed = f", {trust.speed(run)}" if run.decode_tokens_per_s else ""
    return f"{'stopped' if run.stopped else 'done'}{speed}"


class Line:
    """One line of progress on standard error; where that is no terminal, a plain line for each stage instead."""

    def __init__(self, description: str) -> None:
        cells = [TextColumn("{task.fields[head]:<14}"), BarColumn(20), TextColumn("{task.fields[count]}")]
        self._progress = Progress(*cells, TextColumn("{task.fields[what]}"), console=Screen(stderr=True))
        self._task = self._progress.add_task("", total=None, head=description, count="", what="")
        self._drawn = sys.stderr.isatty()
        self._told: set[str] = set()
        self._told_at = -math.inf

    def __enter__(self) -> "Line":
        if self._drawn:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:  # the error says how far it came, not a bar that stands still
            self._progress.update(self._task, visible=False)
        if self._drawn:
            self._progress.stop()

    def stage(self, text: str, every_s: float = 0.0) -> None:
        """What goes on now, such as "nf4: loading": a line for logs and pipes, told once; nothing on a terminal.

        Where the last line is younger than `every_s` seconds, nothing is told either.
        """
        now = time.monotonic()
        if not self._drawn and text not in self._told and now - self._told_at >= every_s:
            self._told.add(text)
            self._told_at = now
            print(visible(text).replace("\n", " "), file=sys.stderr, flush=True)

    def tell(self, head: str, done: int = 0, total: int = 0, what: str = "") -> None:
        """`done` things of `total`; of a total that is not known, or was passed, nothing is shown."""
        (task,) = self._progress.tasks
        known = 0 < total >= done
        task.total = total if known else None  # update() takes None for "as it was"
        task.finished_time = None
        count = f"{done:,}/{total:,}" if known else f"{done:,}" if done else ""
        self._progress.update(
            self._task,
            completed=done,
            head=escape(visible(shortened(head, 22))),
            count=count,
            what=escape(visible(what[-_WHAT:])),
        )

    def warn(self, text: str) -> None:
        """A line that stays, above the progress."""
        if self._drawn:
            self._progress.console.print(f"quantlab: {text}", markup=False, highlight=False, soft_wrap=True)
        else:
            self.stage(f"quantlab: {text}")


def show_common(event: events.Event | events.QualityEvent, line: Line) -> None:
    """What events of every kind of run are on the line; of those of one kind nothing."""
    match event:
        case events.Loading(precision=name, done=done, total=total, what=what):
            line.tell(f"load {name}" if name else "model", done, total, what)
            line.stage(f"{name}: loading" if name else "getting the model")
        case events.ReferenceMoved(why=why) | events.TriedAgain(why=why):
            line.warn(why)
        case events.NotKept(why=why):
            line.warn(f"nothing more of this is kept. {why}")


#: Characters of what is under way, its end: the line has 80 columns.
_WHAT = 24


@contextmanager
def interrupt_sets(stop: threading.Event, line: Line) -> Iterator[None]:
    """Let the first Ctrl-C set `stop`. Raised as an exception it would end the generator of events where it stands."""

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        line.tell("stopping", what="Ctrl-C again: at once")  # an import that is under way goes on to its end

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
