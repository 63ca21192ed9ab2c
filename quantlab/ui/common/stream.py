"""From a blocking iterator of events to batches at the pace of a screen, and the registry of who runs what."""

import contextlib
import contextvars
import queue
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: A screen shows no more than this, in seconds between two updates.
INTERVAL_S = 0.08
#: An empty batch after this long: whoever consumes the batches gets the chance to notice that the visitor has left.
HEARTBEAT_S = 0.25
#: How long a stopped run may take to end before the page goes on without it, in seconds.
PATIENCE_S = 0.4
#: Clicks whose run has not come yet that are known at once; no queue is so long.
_SESSIONS = 10_000
_END = object()


def batches(
    events: Callable[[], Generator[T, None, object]], stop: threading.Event, ended: Callable[[], None]
) -> Generator[list[T], None, None]:
    """Run `events()` in a thread of its own and yield what it gave, at most every `INTERVAL_S`.

    Yields an empty list when nothing came for `HEARTBEAT_S`. What the iterator raises is raised here. Closing this
    generator sets `stop` and waits for nothing: gradio closes it in the loop that serves all visitors. `ended` is
    called when the thread has come to its end, once, however that was: only then is the machine free.
    """
    feed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # With what gradio knows of the visitor: on ZeroGPU the seconds are taken from whose request it is.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(_pump, events, stop, feed, ended), name="comparison", daemon=True)
    try:
        thread.start()
    except BaseException:  # no more threads
        ended()
        raise
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


def _pump(
    events: Callable[[], Generator[Any, None, object]],
    stop: threading.Event,
    feed: queue.SimpleQueue[Any],
    ended: Callable[[], None],
) -> None:
    end: object = _END
    try:
        with contextlib.closing(events()) as iterator:
            for event in iterator:
                feed.put(event)
    except BaseException as error:
        end = error
    ended()
    feed.put(end)


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

    def __init__(self, stop: threading.Event, seconds: float = PATIENCE_S) -> None:
        self.stop, self._seconds = stop, seconds
        self._since: float | None = None

    def lost(self) -> bool:
        if not self.stop.is_set():
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > self._seconds


class StopEvents:
    """The stop events of one tab, by page session. A session that begins again has its earlier runs told to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Of a click whose run has not come yet.
        self._begun: dict[str, threading.Event] = {}
        #: Of runs that wait for their turn or have it: a program may have several.
        self._known: dict[str, list[threading.Event]] = {}
        self._replaced: weakref.WeakSet[threading.Event] = weakref.WeakSet()

    def begin(self, session: str) -> threading.Event:
        """A fresh event for a session that asked for a run, in place of whatever it asked for before."""
        with self._lock:
            for earlier in self._of(session):
                earlier.set()
                self._replaced.add(earlier)
            event = self._begun[session] = threading.Event()
            while len(self._begun) > _SESSIONS:  # whoever clicks under ever new names and never runs anything
                self._begun.pop(next(iter(self._begun))).set()
        return event

    def of(self, session: str) -> threading.Event:
        """The event of a session's run that comes now: of the one that it began, or of one more."""
        with self._lock:
            event = self._begun.pop(session, None) or threading.Event()
            self._known.setdefault(session, []).append(event)
            return event

    def stop(self, session: str) -> bool:
        """Tell a session's runs to stop, whether they have their turn or not. False where there is none."""
        with self._lock:
            found = self._of(session)
        for event in found:
            event.set()
        return bool(found)

    def replaced(self, event: threading.Event) -> bool:
        """Whether its session has begun another run than the one with this event."""
        with self._lock:
            return event in self._replaced

    def end(self, session: str, event: threading.Event) -> None:
        """Forget a run that ended."""
        with self._lock:
            left = [it for it in self._known.get(session, ()) if it is not event]
            if left:
                self._known[session] = left
            else:
                self._known.pop(session, None)

    def _of(self, session: str) -> list[threading.Event]:
        begun = self._begun.get(session)
        return [*self._known.get(session, ()), *([begun] if begun is not None else [])]
