"""Do long work in a thread while a generator goes on telling of its progress."""

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from quantlab.errors import Stopped
from quantlab.records import Progress

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
