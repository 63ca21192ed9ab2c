"""Handlers of long work that tells (done, total, what) and ends with one result."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from threading import Event as StopEvent
from typing import Any, ClassVar

import gradio as gr

from quantlab.errors import Stopped
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import PATIENCE_S, Patience
from quantlab.ui.common.tab import TabHandlers
from quantlab.ui.turns.cut_short import CutShort, TimeUp, with_why
from quantlab.ui.turns.taking import in_turn, limit_s
from quantlab.ui.turns.turns import LeftQueue, Place

Updates = dict[Any, Any]
Work = Callable[[StopEvent], Generator[tuple[int, int, str], None, Any]]


@dataclass(frozen=True)
class _Ended:
    """The last of what a worker thread passes on."""

    result: Any


class StepHandlers(TabHandlers):
    """Bound to one page's components: `parts` have a button `stop`. Which session works is kept in `StopEvents`."""

    #: The kind of work, by which its time is expected: see `Turns`. Whether a public page's clock ends it.
    kind: ClassVar[str]
    limited: ClassVar[bool] = True
    #: How long work that was told to stop is awaited, in seconds.
    patience_s: ClassVar[float] = PATIENCE_S
    #: Said of work that ended by Stop, of work that is awaited no longer, and in the log of a defect.
    stopped: ClassVar[str]
    lost: ClassVar[str]
    failed: ClassVar[str]

    @abstractmethod
    def _shown(self, status: str, *, running: bool = False) -> Updates:
        """The status, and which buttons can be pressed."""

    @abstractmethod
    def _progress(self, done: int, total: int, what: str) -> str:
        """How far the work is, as HTML."""

    @abstractmethod
    def _result(self, result: Any) -> Updates:
        """What is shown of the result."""

    def begin(self, request: gr.Request) -> Updates:
        """The click's answer at once, before its turn has come."""
        self.stops.begin(runner.session(request))
        return self._shown(fragments.waiting(), running=True)

    def follow(self, request: gr.Request, prepare: Callable[[], Work]) -> Iterator[Updates]:
        """Do the work that `prepare` gives, which checks what was asked, when its turn has come; yield what changed.

        Ends it when the visitor leaves.
        """
        at, seconds = self.queueing(request), limit_s(self.app) if self.limited else float("inf")
        with self.running(request) as stop:
            try:
                work = prepare()
                if stop.is_set():
                    raise LeftQueue
                asked = in_turn(at.turns, at.visitor, self.kind, lambda: _to_the_end(work, stop), stop, seconds)
                with closing(asked) as stream:
                    yield from self._followed(stream, Patience(stop, self.patience_s))
            except Stopped as error:
                if self.stops.replaced(stop):
                    return
                left = isinstance(error, LeftQueue)
                yield self._shown(fragments.left_queue() if left else fragments.said(with_why(stop, self.stopped)))
            except Exception as error:  # a card on the page; of a defect the log has the traceback
                yield self._shown(fragments.problem(runner.problem_of(error, self.failed)))

    def _stopping(self) -> Updates:
        return {self.parts.stop: gr.update(interactive=False)}

    def _followed(self, stream: Iterator[Place | CutShort | list[Any]], patience: Patience) -> Iterator[Updates]:
        """The places, and from the first batch on the steps."""
        for told in stream:
            if isinstance(told, Place):
                yield self._shown(fragments.waiting(told), running=True)
            else:
                yield from self._steps(_in_time(chain([told], stream)), patience)

    def _steps(self, stream: Iterator[list[Any]], patience: Patience) -> Iterator[Updates]:
        """What changed, until it has ended or is awaited no longer."""
        for batch in stream:
            if patience.lost():
                yield self._shown(fragments.said(with_why(patience.stop, self.lost)))
                return
            if batch:
                last = batch[-1]
                ended = isinstance(last, _Ended)
                yield self._result(last.result) if ended else self._shown(self._progress(*last), running=True)


def _in_time(stream: Iterator[Any]) -> Iterator[list[Any]]:
    """The batches. Raises BadInput where the work took all its time: half of it is nothing."""
    for told in stream:
        if isinstance(told, TimeUp):
            raise told.error
        if isinstance(told, list):
            yield told


def _to_the_end(work: Work, stop: StopEvent) -> Generator[Any, None, None]:
    yield _Ended((yield from work(stop)))
