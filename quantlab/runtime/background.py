"""Do long work in a thread while a generator goes on telling of its progress."""

import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

from quantlab.errors import Stopped
from quantlab.records import Progress

Step = TypeVar("Step")
Event = TypeVar("Event")
T = TypeVar("T")
#: Progress in between is dropped: nobody reads faster.
_EVERY_S = 0.05


def in_background(job: Callable[[Progress], T], stop: threading.Event) -> Generator[tuple[int, int, str], None, T]:
    """Run `job(progress)` in a thread, yield its progress, return its result or raise its error.

    Setting `stop`, or closing the generator, makes the next call of `progress` raise `Stopped`; the thread has
    ended when this returns.
    """
    told: queue.Queue[tuple[int, int, str] | None] = queue.Queue()
    abandoned = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []
    last = 0.0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last
        if stop.is_set() or abandoned.is_set():
            raise Stopped
        now = time.monotonic()
        if now - last >= _EVERY_S or done == total:
            last = now
            told.put((done, total, what))

    def work() -> None:
        try:
            results.append(job(progress))
        except BaseException as error:  # handed over whole, and raised where it belongs
            errors.append(error)
        finally:
            told.put(None)

    thread = threading.Thread(target=work, name="quantlab-load", daemon=True)
    thread.start()
    try:
        while (item := told.get()) is not None:
            yield item
    finally:
        abandoned.set()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def forward(steps: Generator[Step, None, T], event: Callable[[Step], Event]) -> Generator[Event, None, T]:
    """Yield what `event` makes of each step, and return what the steps return. Closing this closes them."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            yield event(step)


def result(steps: Generator[Step, None, T], tell: Callable[[Step], object] = lambda step: None) -> T:
    """What the steps return in the end; `tell` is told of each."""
    with closing(steps):
        while True:
            try:
                tell(next(steps))
            except StopIteration as end:
                return end.value
