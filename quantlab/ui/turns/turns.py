"""Whose turn it is on the machine. Pure Python: no gradio, no clock of the day.

One run at a time, so that its timings are true. Visitors take turns in rotation, each with the run that he asked for
first: whoever asks for many waits with the later ones while others have their first. Whoever waits knows his place and
about how long it takes, by the runs that were measured before. Where too many wait, the next one is told at once.
"""

import heapq
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from math import inf, isfinite
from statistics import mean
from types import TracebackType
from typing import Self

from quantlab.errors import QuantlabError, Stopped

#: How often whoever waits looks whether he was called, told to stop, or left, in seconds.
POLL_S = 0.2
#: A place is told no more often than this, in seconds, and so many places a second to all who wait together: telling is
#: work for the same machine.
TOLD_S, TOLD_TOGETHER = 1.0, 8.0
#: Runs by which the next ones are expected, of each kind.
_REMEMBERED = 20


@dataclass(frozen=True)
class Place:
    """Where somebody stands: `number` of `waiting` (1: the next), and in about how many `seconds` it begins.

    The seconds are rounded to what a person would say; None while no run has been measured.
    """

    number: int
    waiting: int
    seconds: int | None = None


@dataclass(frozen=True)
class Traffic:
    """What there was since the start. `served` had their turn, `refused` were told that it is full, `left` gave up."""

    running: int
    waiting: int
    served: int
    refused: int
    left: int


class Full(QuantlabError):
    """No more are taken in now: the queue is full, or the visitor's own part of it."""


class LeftQueue(Stopped):
    """A run was called off before its turn: nothing ran."""


def never() -> bool:
    """For those who cannot leave unseen."""
    return False


class Turns:
    """At most `limit` wait, at most `each` of them of one visitor; `at_once` run. Any thread may call it.

    `waited` is told how many seconds each one waited that is called, `refused` when somebody is told that it is full.
    `may` raises where nothing more begins, for those who come and for those who wait. `clock` gives seconds; one that
    never goes back.
    """

    def __init__(
        self,
        limit: int = 128,
        each: int = 3,
        at_once: int = 1,
        *,
        may: Callable[[], None] = lambda: None,
        waited: Callable[[float], None] = lambda seconds: None,
        refused: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit, self.each, self.at_once = limit, each, at_once
        self._tell_waited, self._tell_refused, self._clock, self.may = waited, refused, clock, may
        self._lock = threading.Lock()
        #: Who waits, by visitor: the first visitor is the next one called.
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._running: list[Turn] = []
        self._took: dict[str, deque[float]] = {}
        self._served = self._refused = self._left = 0
        self._places: dict[Turn, Place] = {}
        #: When the places were computed; None once they have changed.
        self._told_at: float | None = None

    def enter(self, visitor: str, kind: str) -> "Turn":
        """A turn for a visitor's run, called at once where the machine is free. Whoever gets one must leave it.

        `kind` names runs that take about as long as one another. Raises Full, and what `may` raises.
        """
        self.may()
        with self._lock:
            mine, count = self._waiting.get(visitor, ()), sum(map(len, self._waiting.values()))
            if count >= self.limit or len(mine) >= self.each:
                self._refused += 1
                self._tell_refused()
                raise self._full(count)
            turn = Turn(self, visitor, kind, self._clock())
            self._waiting.setdefault(visitor, deque()).append(turn)
            for theirs in self._running:  # whoever has his turn now comes behind those who wait for their first
                if theirs.visitor in self._waiting:
                    self._waiting.move_to_end(theirs.visitor)
            self._call()
            return turn

    def traffic(self) -> Traffic:
        """The counts of now."""
        with self._lock:
            waiting = sum(map(len, self._waiting.values()))
            return Traffic(len(self._running), waiting, self._served, self._refused, self._left)

    def _full(self, count: int) -> Full:
        if count < self.limit:
            wait = "1 run of yours waits" if self.each == 1 else f"{self.each} runs of yours wait"
            return Full(f"{wait} already, and no more are taken.", "Wait for one to end, or stop one.")
        seconds = max((place.seconds or 0 for place in self._told().values()), default=0)
        again = f"Try again in about {said(seconds)}." if seconds else "Try again in a minute."
        wait = "1 run waits" if count == 1 else f"{count} runs wait"
        return Full(f"{wait} here already, and no more are taken now.", again)

    def _place(self, turn: "Turn") -> Place | None:
        """Where a turn stands; None where it waits no longer."""
        with self._lock:
            return self._told().get(turn)

    def _told(self) -> dict["Turn", Place]:
        """All places, computed anew where something changed or time went on. Under the lock."""
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TOLD_S:
            order = [turn for turns in zip_longest(*self._waiting.values()) for turn in turns if turn is not None]
            starts = self._starts(order, now)
            self._places = {
                turn: Place(number, len(order), None if start is None else rounded(start))
                for number, (turn, start) in enumerate(zip(order, starts, strict=True), 1)
            }
            self._told_at = now
        return self._places

    def _starts(self, order: list["Turn"], now: float) -> Iterator[float | None]:
        """In how many seconds each one is called, if runs take as long as those before them did; None: nobody knows."""
        free = [self._left_of(turn, now) for turn in self._running]
        free += [0.0] * (self.at_once - len(free))
        heapq.heapify(free)
        for turn in order:
            takes = self._expected(turn.kind)
            if takes is None:
                yield None
            else:
                start = heapq.heappop(free)
                heapq.heappush(free, start + takes)
                yield start if isfinite(start) else None

    def _left_of(self, turn: "Turn", now: float) -> float:
        """What a running one still takes, by those that took longer than it has until now; infinite without any."""
        ran = now - turn.began
        longer = [took for took in self._times(turn.kind) if took > ran]
        return mean(longer) - ran if longer else inf

    def _expected(self, kind: str) -> float | None:
        """How long a run of a kind takes; None where nothing was measured."""
        took = self._times(kind)
        return mean(took) if took else None

    def _times(self, kind: str) -> Collection[float]:
        """What runs of a kind took, or of every kind where none of it was measured."""
        return self._took.get(kind) or [*chain.from_iterable(self._took.values())]

    def _call(self) -> None:
        """Call whoever is next while there is room. Under the lock."""
        self._told_at = None
        while self._waiting and len(self._running) < self.at_once:
            visitor, theirs = next(iter(self._waiting.items()))
            turn = theirs.popleft()
            if theirs:
                self._waiting.move_to_end(visitor)
            else:
                del self._waiting[visitor]
            turn.began = self._clock()
            self._tell_waited(turn.began - turn.asked)
            self._running.append(turn)
            self._served += 1
            turn.called.set()

    def _leave(self, turn: "Turn", whole: bool) -> None:
        with self._lock:
            if turn in self._running:
                self._running.remove(turn)
                if whole:
                    took = self._took.setdefault(turn.kind, deque(maxlen=_REMEMBERED))
                    took.append(self._clock() - turn.began)
            elif turn in (theirs := self._waiting.get(turn.visitor, deque())):
                self._left += 1
                theirs.remove(turn)
                if not theirs:
                    del self._waiting[turn.visitor]
            self._call()


class Turn:
    """One visitor's turn, from when he asked for it until he leaves it, which the end of a `with` block does."""

    def __init__(self, turns: Turns, visitor: str, kind: str, asked: float) -> None:
        self._turns = turns
        self.visitor, self.kind, self.asked = visitor, kind, asked
        self.called = threading.Event()
        self.began = 0.0

    def place(self) -> Place | None:
        """Where it stands now; None once it was called or left."""
        return self._turns._place(self)

    def places(self, stop: threading.Event, gone: Callable[[], bool] = never) -> Iterator[Place]:
        """Yield the place whenever it is another one, until this turn is called.

        Raises LeftQueue as soon as `stop` is set or whoever waits is `gone`, and what the turns' `may` raises; the
        place is free then.
        """
        told, told_at = None, float("-inf")
        while not self.called.is_set():
            if stop.is_set() or gone():
                self.leave()
                raise LeftQueue
            try:
                self._turns.may()
            except BaseException:
                self.leave()
                raise
            place, now = self.place(), time.monotonic()
            if place is not None and place != told and now - told_at >= max(TOLD_S, place.waiting / TOLD_TOGETHER):
                told, told_at = place, now
                yield place
            self.called.wait(POLL_S)

    def leave(self, whole: bool = True) -> None:
        """Give it back, whether it was called or not; a second time changes nothing.

        What was not `whole`, since somebody stopped it, does not tell how long such work takes.
        """
        self._turns._leave(self, whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(whole=kind is None)


def rounded(seconds: float) -> int:
    """Seconds as a person would say them: by ones to ten, by fives to a minute, then by tens and by minutes."""
    step = 1 if seconds <= 10 else 5 if seconds <= 60 else 10 if seconds <= 180 else 60
    return max(0, round(seconds / step) * step)


def said(seconds: int) -> str:
    """A rounded time in words."""
    return f"{seconds} s" if seconds <= 180 else f"{seconds // 60} min"


def words(place: Place) -> str:
    """A place as whoever waits reads it."""
    when = "" if place.seconds is None else f", about {said(place.seconds)}" if place.seconds else ", any moment"
    if place.number == 1:
        return f"Yours is next{when}."
    return f"Place {place.number} of {place.waiting}{when}."
