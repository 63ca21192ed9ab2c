"""From a blocking iterator of events to batches at the pace of a screen, and the registry of who runs what."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: A screen shows no more than this, in seconds between two updates.
INTERVAL_S = 0.08
#: An empty batch after this long: whoever consumes the batches gets the chance to notice that the visitor has left.
HEARTBEAT_S = 0.25
#: Runs that are known at once, those in the queue included; no queue is so long.
_SESSIONS = 10_000
_END = object()


def batches(events: Callable[[], Generator[T, None, object]], stop: threading.Event) -> Generator[list[T], None, None]:
    """Run `events()` in a thread of its own and yield what it gave, at most every `INTERVAL_S`.

    Yields an empty list when nothing came for `HEARTBEAT_S`. What the iterator raises is raised here. Closing this
    generator sets `stop` and waits for the thread, so that the next visitor's timings are not spoilt.
    """
    feed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    thread = threading.Thread(target=_pump, args=(events, stop, feed), name="comparison", daemon=True)
    thread.start()
    try:
        while True:
            batch, end = _collect(feed)
            if batch or end is None:
                yield batch
            if end is not None:
                if isinstance(end, BaseException):
                    raise end
                return
    finally:
        stop.set()
        thread.join()


def _pump(
    events: Callable[[], Generator[Any, None, object]], stop: threading.Event, feed: queue.SimpleQueue[Any]
) -> None:
    try:
        with contextlib.closing(events()) as iterator:
            for event in iterator:
                feed.put(event)
    except BaseException as error:
        feed.put(error)
    else:
        feed.put(_END)


def _collect(feed: queue.SimpleQueue[Any]) -> tuple[list[Any], object | None]:
    """The events of one interval, and the end (an error, or `_END`) where it was reached."""
    batch: list[Any] = []
    deadline = time.monotonic() + HEARTBEAT_S
    while (left := deadline - time.monotonic()) > 0:
        try:
            item = feed.get(timeout=left)
        except queue.Empty:
            break
        if item is _END or isinstance(item, BaseException):
            return batch, item
        if not batch:
            deadline = min(deadline, time.monotonic() + INTERVAL_S)
        batch.append(item)
    return batch, None


class StopEvents:
    """One stop event per page session. A session that begins again gets a fresh one; the old run is told to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}

    def begin(self, session: str) -> threading.Event:
        """A fresh event for a session that asked for a run, which may yet wait in the queue."""
        with self._lock:
            if session in self._events:
                self._events[session].set()
            event = self._events[session] = threading.Event()
            while len(self._events) > _SESSIONS:  # whoever clicks under ever new names and never runs anything
                self._events.pop(next(iter(self._events))).set()
        return event

    def of(self, session: str) -> threading.Event:
        """The event of a session's run."""
        with self._lock:
            return self._events.setdefault(session, threading.Event())

    def stop(self, session: str) -> bool:
        """Tell a session's run to stop, running or still in the queue. False where there is none."""
        with self._lock:
            event = self._events.get(session)
        if event is not None:
            event.set()
        return event is not None

    def end(self, session: str, event: threading.Event) -> None:
        """Forget a run that ended, unless the session has begun another meanwhile."""
        with self._lock:
            if self._events.get(session) is event:
                del self._events[session]
