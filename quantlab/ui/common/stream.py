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
#: How long a stopped run may take to end before the page goes on without it, in seconds.
_PATIENCE_S = 0.4
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


class Patience:
    """Whether a run that was told to stop takes too long over it: the page then says that it has stopped, while what
    cannot be broken off (a layer that is quantized, a window that is read) goes on to its end."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._since: float | None = None

    def lost(self) -> bool:
        if not self._stop.is_set():
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > _PATIENCE_S


class StopEvents:
    """One stop event per page session. A session that begins again gets a fresh one; the old run is told to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}
        self._waiting: set[str] = set()

    def begin(self, session: str) -> threading.Event:
        """A fresh event for a session that asked for a run, which may yet wait in the queue."""
        with self._lock:
            if session in self._events:
                self._events[session].set()
            event = self._events[session] = threading.Event()
            self._waiting.add(session)
            while len(self._events) > _SESSIONS:  # whoever clicks under ever new names and never runs anything
                oldest = next(iter(self._events))
                self._events.pop(oldest).set()
                self._waiting.discard(oldest)
        return event

    def of(self, session: str) -> threading.Event:
        """The event of a session's run, which has its place now."""
        with self._lock:
            self._waiting.discard(session)
            return self._events.setdefault(session, threading.Event())

    def stop(self, session: str) -> bool:
        """Tell a session's run to stop, running or still in the queue. False where there is none."""
        with self._lock:
            event = self._events.get(session)
        if event is not None:
            event.set()
        return event is not None

    def waits(self, session: str) -> bool:
        """Whether a session asked for a run that has no place yet."""
        with self._lock:
            return session in self._waiting

    def replaced(self, session: str, event: threading.Event) -> bool:
        """Whether a session has begun another run than the one with this event."""
        with self._lock:
            return self._events.get(session, event) is not event

    def leave_queue(self, session: str) -> bool:
        """Call off a run that has no place yet: given one, it does nothing. False where it has one, or is none."""
        with self._lock:
            if session not in self._waiting:
                return False
            self._waiting.discard(session)
            self._events[session].set()
            return True

    def end(self, session: str, event: threading.Event) -> None:
        """Forget a run that ended, unless the session has begun another meanwhile."""
        with self._lock:
            if self._events.get(session) is event:
                del self._events[session]
