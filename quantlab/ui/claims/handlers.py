"""What the events of the tab Claims do."""

from collections.abc import Generator, Iterator, Mapping
from threading import Event as StopEvent

import gradio as gr

from quantlab.errors import BadInput
from quantlab.records.claims import Claims, ClaimVerdict
from quantlab.teach.claims import CLAIMS
from quantlab.ui.claims import fragments as html
from quantlab.ui.claims.parts import ClaimsParts
from quantlab.ui.common.steps import StepHandlers, Updates, Work
from quantlab.ui.compare import form as choices

ALL = "All"
QUICK = "Those that take seconds"
#: What holds the machine for minutes, or trains, which visitors may not.
_LONG = frozenset({"quality", "first", "training", "merges"})


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


class ClaimsHandlers(StepHandlers):
    """Bound to one page's tab."""

    parts: ClaimsParts
    kind = "claims"
    stopped = "Stopped. Verdicts from before stay."
    lost = "Stopped."
    failed = "claims could not be tested"

    def run(
        self, request: gr.Request, model: str, which: str, before: Mapping[int, ClaimVerdict] | None
    ) -> Iterator[Updates]:
        """Test what was chosen; yield what changed. Verdicts from `before` stay where no new one comes."""

        def prepare() -> Work:
            name = str(model or "").strip()
            choices.check_model(name, self.app)
            only = numbers(str(which or ""), self.app.public)
            return lambda stop: self._tested(name, only, stop, dict(before or {}))

        yield from self.follow(request, prepare)

    def _tested(
        self, model: str, only: tuple[int, ...], stop: StopEvent, before: Mapping[int, ClaimVerdict]
    ) -> Generator[tuple[int, int, str], None, tuple[Claims, Mapping[int, ClaimVerdict]]]:
        found = yield from self.services.claims(model, only, stop)
        return found, {**before, **{verdict.number: verdict for verdict in found.verdicts}}

    def _progress(self, done: int, total: int, what: str) -> str:
        return html.progress(done, total, what)

    def _result(self, result: tuple[Claims, Mapping[int, ClaimVerdict]]) -> Updates:
        found, every = result
        return self._shown(html.counted(found)) | {self.parts.claims: html.claims(every), self.parts.found: every}

    def _shown(self, status: str, *, running: bool = False) -> Updates:
        return {
            self.parts.start: gr.update(interactive=not running),
            self.parts.stop: gr.update(interactive=running),
            self.parts.status: status,
        }
