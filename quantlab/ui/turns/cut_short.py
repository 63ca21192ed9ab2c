"""Why a run was told to stop, where no visitor did that: the server ends, or the time that one may take is over."""

import threading
import weakref
from dataclasses import dataclass

from quantlab.errors import BadInput


@dataclass(frozen=True)
class TimeUp:
    """A run was told to stop because it took all the time that one may take."""

    seconds: float

    @property
    def notice(self) -> str:
        """Said beside what the run left."""
        return f"Stopped after {self.seconds:g} s, the limit of this public page. Ask for fewer precisions or tokens."

    @property
    def error(self) -> BadInput:
        """The same for work that leaves nothing when it is broken off."""
        return BadInput(f"That took longer than {self.seconds:g} s, the limit of this public page.")


@dataclass(frozen=True)
class Ended:
    """What a run used was taken from it; `notice` is said beside what it left."""

    notice: str


CutShort = TimeUp | Ended
SERVER_ENDS = Ended("Cut short: this server ends. Ask again in a minute.")
GPU_TAKEN_BACK = Ended("Cut short: the GPU was lent for no longer. Ask for fewer precisions or tokens.")

_lock = threading.Lock()
#: By the event that tells a run to stop, which it knows and who stops it.
_cut: weakref.WeakKeyDictionary[threading.Event, Ended] = weakref.WeakKeyDictionary()


def cut(stop: threading.Event, by: Ended) -> None:
    """Note what cuts the run with this event short, before that is set: one that was stopped already is not cut."""
    with _lock:
        if not stop.is_set():
            _cut[stop] = by


def why(stop: threading.Event) -> Ended | None:
    """What cut the run with this event short; None where whoever asked for it stopped it, or nobody did."""
    with _lock:
        return _cut.get(stop)


def with_why(stop: threading.Event, said: str) -> str:
    """What is said of work that was stopped, and before it what cut it short."""
    found = why(stop)
    return said if found is None else f"{found.notice} {said}"
