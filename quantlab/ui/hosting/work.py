"""What runs at this moment: counted, and let end when the server is to end."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TypeVar

from quantlab.errors import QuantlabError, Stopped, Unavailable
from quantlab.ui.hosting.metrics import Metrics
from quantlab.ui.turns.cut_short import SERVER_ENDS, cut

E = TypeVar("E")
R = TypeVar("R")
#: How often the end looks whether all is done, and how long what was told to stop may take over it, in seconds.
_LOOK_S, _STOPPING_S = 0.05, 3.0


class Work:
    """The jobs of a page. Any thread may call it."""

    def __init__(self, metrics: Metrics | None = None, may: Callable[[], None] = lambda: None) -> None:
        """`may` raises Unavailable where whoever asks has to wait before the next run."""
        self.metrics, self._may = metrics or Metrics(), may
        self._lock = threading.Lock()
        self._stops: dict[object, tuple[threading.Event, ...]] = {}
        self._ending = False

    @property
    def ending(self) -> bool:
        return self._ending

    @property
    def running(self) -> int:
        with self._lock:
            return len(self._stops)

    def counted(self, kind: str, job: Callable[..., Generator[E, None, R]]) -> Callable[..., Generator[E, None, R]]:
        """`job`, counted while it runs. Raises Unavailable in its place once the server is ending, or too often."""

        def run(*args: object, **named: object) -> Generator[E, None, R]:
            stops = tuple(it for it in (*args, *named.values()) if isinstance(it, threading.Event))
            ticket = self._enter(stops)
            try:
                with self.metrics.run(kind) as ended, closing(job(*args, **named)) as events:
                    try:
                        while True:
                            event = next(events)
                            self.metrics.saw(event)
                            yield event
                    except StopIteration as end:
                        ended.append("stopped" if _told(stops) else "done")
                        return end.value
                    except GeneratorExit:  # whoever asked has left
                        raise
                    except QuantlabError as error:
                        ended.append("stopped" if isinstance(error, Stopped) else "failed")
                        raise
                    except BaseException:
                        ended.append("broken")
                        raise
            finally:
                with self._lock:
                    del self._stops[ticket]

        return run

    def _enter(self, stops: tuple[threading.Event, ...]) -> object:
        try:
            self._may()
        except Unavailable:
            self.metrics.refuse("rate")
            raise
        ticket = object()
        with self._lock:
            if not self._ending:
                self._stops[ticket] = stops
                return ticket
        raise self._refused()

    def check_open(self) -> None:
        """Raises Unavailable once the server is ending: whoever comes or waits is told at once."""
        if self._ending:
            raise self._refused()

    def _refused(self) -> Unavailable:
        self.metrics.refuse("ending")
        return Unavailable("This server is about to end and begins nothing new.", "Try again in a minute.")

    def end(self, seconds: float, busy: Callable[[], bool] = lambda: False) -> bool:
        """Begin nothing new, let what runs end, and stop what still runs after so many seconds.

        `busy` says whether answers are still on their way out. Returns whether all came to its end by itself.
        """
        with self._lock:
            self._ending = True
        if _within(seconds, lambda: not self.running and not busy()):
            return True
        with self._lock:
            stops = [stop for those in self._stops.values() for stop in those]
        for stop in stops:
            cut(stop, SERVER_ENDS)
            stop.set()
        _within(_STOPPING_S, lambda: not self.running and not busy())
        return False


def _told(stops: Iterable[threading.Event]) -> bool:
    return any(stop.is_set() for stop in stops)


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_S)
    return True
