"""What the events of the tab Claims do."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, Stopped
from quantlab.records.claims import Claims, ClaimVerdict
from quantlab.teach.claims import CLAIMS
from quantlab.ui.claims import fragments as html
from quantlab.ui.claims.parts import ClaimsParts
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import Patience, batches
from quantlab.ui.common.tab import TabHandlers
from quantlab.ui.compare import form as choices

Updates = dict[Any, Any]
ALL = "All"
QUICK = "Those that take seconds"
#: What holds the machine for minutes.
_LONG = frozenset({"quality", "first"})


@dataclass(frozen=True)
class _Ended:
    """The last of what a worker thread passes on."""

    claims: Claims


def offered(public: bool) -> tuple[str, ...]:
    """What can be chosen to be tested: all, the quick ones, or one by its number."""
    quick = [claim for claim in CLAIMS if not _LONG & set(claim.needs)]
    each = tuple(f"{claim.number}. {claim.text}" for claim in (quick if public else CLAIMS))
    return (QUICK, *each) if public else (ALL, QUICK, *each)


def numbers(which: str, public: bool) -> tuple[int, ...]:
    """The claims that are meant; all of them is (). Raises BadInput."""
    if which not in offered(public):
        raise BadInput("That is no claim of the list.", "Choose one of the list.")
    if which == ALL:
        return ()
    if which == QUICK:
        return tuple(claim.number for claim in CLAIMS if not _LONG & set(claim.needs))
    return (int(which.partition(".")[0]),)


class ClaimsHandlers(TabHandlers):
    """Bound to one page's tab."""

    parts: ClaimsParts

    def begin(self, request: gr.Request) -> Updates:
        """The click's answer at once, before the queue is passed."""
        self.stops.begin(runner.session(request))
        return self._shown(html.progress(0, 0, "Waiting for a free place."), running=True)

    def run(
        self, request: gr.Request, model: str, which: str, before: Mapping[int, ClaimVerdict] | None
    ) -> Iterator[Updates]:
        """Test what was chosen; yield what changed. Ends when the visitor leaves."""
        found = dict(before or {})
        with self.running(request) as stop:
            try:
                name = str(model or "").strip()
                choices.check_model(name, self.app)
                only = numbers(str(which or ""), self.app.public)
                if stop.is_set():
                    raise Stopped
                with closing(batches(lambda: self._work(name, only, stop), stop)) as stream:
                    yield from self._steps(stream, Patience(stop), found)
            except Stopped:
                if self.stops.replaced(runner.session(request), stop):
                    return
                yield self._shown(fragments.said("Stopped. Verdicts from before stay."))
            except Exception as error:
                yield self._shown(fragments.problem(runner.problem_of(error, "claims could not be tested")))

    def _steps(
        self, stream: Iterator[list[Any]], patience: Patience, found: dict[int, ClaimVerdict]
    ) -> Iterator[Updates]:
        """What changed, until it has ended or is awaited no longer."""
        left = False
        for batch in stream:
            if left or not batch:
                continue
            if left := patience.lost():
                yield self._shown(fragments.said("Stopped."))
                continue
            last = batch[-1]
            if isinstance(last, _Ended):
                found |= {verdict.number: verdict for verdict in last.claims.verdicts}
                ended = {self.parts.claims: html.claims(found), self.parts.found: found}
                yield self._shown(html.counted(last.claims)) | ended
            else:
                yield self._shown(html.progress(*last), running=True)

    def _work(self, model: str, only: tuple[int, ...], stop: StopEvent) -> Generator[Any, None, None]:
        yield _Ended((yield from self.services.claims(model, only, stop)))

    def _stopping(self) -> Updates:
        return {self.parts.stop: gr.update(interactive=False)}

    def _left_queue(self) -> Updates:
        return self._shown(fragments.left_queue())

    def _shown(self, status: str, *, running: bool = False) -> Updates:
        return {
            self.parts.start: gr.update(interactive=not running),
            self.parts.stop: gr.update(interactive=running),
            self.parts.status: status,
        }
