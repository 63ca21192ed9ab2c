"""Handlers of long work that tells (done, total, what) and ends with one result."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import Any, ClassVar

import gradio as gr

from quantlab.errors import Stopped
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import Patience, batches
from quantlab.ui.common.tab import TabHandlers

Updates = dict[Any, Any]
Work = Callable[[StopEvent], Generator[tuple[int, int, str], None, Any]]


@dataclass(frozen=True)
class _Ended:
    """The last of what a worker thread passes on."""

    result: Any


class StepHandlers(TabHandlers):
    """Bound to one page's components: `parts` have a button `stop`. Which session works is kept in `StopEvents`."""

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
        """The click's answer at once, before the queue is passed."""
        self.stops.begin(runner.session(request))
        return self._shown(fragments.waiting(), running=True)

    def follow(self, request: gr.Request, prepare: Callable[[], Work]) -> Iterator[Updates]:
        """Do the work that `prepare` gives, which checks what was asked; yield what changed.

        Ends it when the visitor leaves.
        """
        with self.running(request) as stop:
            try:
                work = prepare()
                if stop.is_set():
                    raise Stopped
                with closing(batches(lambda: _to_the_end(work, stop), stop)) as stream:
                    yield from self._steps(stream, Patience(stop))
            except Stopped:
                if self.stops.replaced(runner.session(request), stop):
                    return
                yield self._shown(fragments.said(self.stopped))
            except Exception as error:  # a card on the page; of a defect the log has the traceback
                yield self._shown(fragments.problem(runner.problem_of(error, self.failed)))

    def _left_queue(self) -> Updates:
        return self._shown(fragments.left_queue())

    def _stopping(self) -> Updates:
        return {self.parts.stop: gr.update(interactive=False)}

    def _steps(self, stream: Iterator[list[Any]], patience: Patience) -> Iterator[Updates]:
        """What changed, until it has ended or is awaited no longer."""
        left = False
        for batch in stream:
            if left:
                continue
            if left := patience.lost():
                yield self._shown(fragments.said(self.lost))
            elif batch:
                last = batch[-1]
                ended = isinstance(last, _Ended)
                yield self._result(last.result) if ended else self._shown(self._progress(*last), running=True)


def _to_the_end(work: Work, stop: StopEvent) -> Generator[Any, None, None]:
    yield _Ended((yield from work(stop)))
