"""What the events of the history tab do: one call each, its result handed to the components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event as StopEvent
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.errors import BadInput, Stopped
from quantlab.history import Entry
from quantlab.records import Comparison, Quality
from quantlab.settings import AppSettings
from quantlab.ui.common import exports, fragments, runner
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.stream import Patience
from quantlab.ui.common.tab import TabHandlers
from quantlab.ui.history import entry_list as lines
from quantlab.ui.history import fragments as html
from quantlab.ui.history import opened as history_opened
from quantlab.ui.history import side_by_side
from quantlab.ui.history.drawing import drawn, redrawn
from quantlab.ui.history.opened import Opened
from quantlab.ui.services import Services
from quantlab.ui.turns.cut_short import with_why
from quantlab.ui.turns.taking import in_turn
from quantlab.ui.turns.turns import LeftQueue

if TYPE_CHECKING:
    from quantlab.ui.history.parts import HistoryParts

Updates = dict[Any, Any]
OUR_FAULT = Problem("Something went wrong on our side.", "What is kept is not touched by this. The log says why.")
#: So many entries are listed at once.
LISTED = 200


class HistoryHandlers(TabHandlers):
    """Bound to one page's components. What is kept is asked anew each time: other processes write it too."""

    def __init__(self, parts: HistoryParts, app: AppSettings, services: Services) -> None:
        super().__init__(parts, app, services)
        self._exports = exports.Exports()

    def find(self, search: str, kind: str) -> Updates:
        """The list as it is now, of what has the searched words. Trouble with it stands in its place: what is said
        of an entry that is opened meanwhile stays."""
        try:
            return self._listed(search, kind)
        except Exception as error:
            return {self.parts.entries: gr.update(rows=_told(error))}

    def open(self, entry: int | None, search: str, kind: str, opened: Opened | None) -> Updates:
        """Show an entry, or none any more. One whose record was damaged can still be deleted."""
        if entry is None:
            return self._closed() | {self.parts.problem: ""}
        return self._with_problems_shown(lambda: self._show(self._kept(entry)), closing=True)

    def read(self, file: str | None, search: str, kind: str, opened: Opened | None) -> Updates:
        """Keep what a file holds, where anything is kept, and show it."""

        def shown() -> Updates:
            record = history_opened.uploaded(file)
            history = self.services.history()
            if history is None:
                return self._show(Opened(record, None))
            known = history_opened.known(history, record)
            entry = known or history.entry(history.keep(record))
            found = Opened(record, entry)
            told = f"It {'was' if known else 'is'} in the history {'already' if known else 'now'}, as #{entry.id}."
            return (
                self._show(found)
                | self._listed(search, kind, value=found.id)
                | {self.parts.status: fragments.said(told)}
            )

        return {self.parts.status: fragments.said("")} | self._with_problems_shown(shown) | {self.parts.upload: None}

    def draw(self, opened: Opened | None) -> Updates:
        """The charts of what is open."""
        if opened is None or opened.record is None:
            return {self.parts.charts: gr.update(visible=False)}
        return {self.parts.charts: gr.update(visible=True)} | drawn(self.parts.panels, opened.record)

    def pick(self, index: int) -> Callable[[Opened | None, str | None], Updates]:
        """The handler of one chart's choice."""

        def redraw(opened: Opened | None, picked: str | None) -> Updates:
            panel = self.parts.panels[index]
            return redrawn(panel, opened.record if opened else None, picked) or {panel.table: gr.skip()}

        return redraw

    def copied(self) -> Updates:
        return {self.parts.status: fragments.said("Link copied. It opens where this history is kept.")}

    def ask(self) -> Updates:
        return {self.parts.sure: gr.update(visible=True)}

    def keep(self) -> Updates:
        return {self.parts.sure: gr.update(visible=False)}

    def delete(self, search: str, kind: str, opened: Opened | None) -> Updates:
        """Delete what is open, after it was asked for twice."""

        def deleted() -> Updates:
            history = self.services.history()
            if history is not None and opened is not None and opened.entry is not None:
                history.delete(opened.entry.id)
            told = {self.parts.status: fragments.said("Deleted.")}
            return self._closed() | self._listed(search, kind, value=None) | told

        return self._with_problems_shown(deleted)

    def beside(self, opened: Opened | None, other: int | None) -> Updates:
        """Set a second entry beside what is open."""

        def together() -> Updates:
            history = self.services.history()
            if history is None or opened is None or opened.record is None:
                return {self.parts.together: ""}
            if other is None:
                raise BadInput("No second entry is chosen.", "Pick the one to set beside this one.")
            return {self.parts.together: side_by_side.render(opened.record, history.get(int(other)))}

        return {self.parts.together: ""} | self._with_problems_shown(together)

    def export(self, index: int) -> Callable[..., Updates]:
        """The handler of one format's button: writes the file, which the browser then fetches."""
        form = exports.FORMATS[index]

        def export(request: gr.Request, opened: Opened | None) -> Updates:
            def file() -> Updates:
                if opened is None or opened.record is None:
                    return {self.parts.file: None}
                folder = Path(self.parts.file.GRADIO_CACHE)
                made = self._exports.write(runner.session(request), opened.record, form, folder)
                return {self.parts.file: str(made), self.parts.status: fragments.said(f"Downloading {made.name}.")}

            return {self.parts.file: None} | self._with_problems_shown(file)

        return export

    def begin(self, request: gr.Request) -> Updates:
        """The click's answer at once, before its turn has come."""
        self.stops.begin(runner.session(request))
        parts = self.parts
        return {
            parts.resume: gr.update(interactive=False),
            parts.stop: gr.update(visible=True, interactive=True),
            parts.status: fragments.waiting(),
            parts.problem: "",
        }

    def resume(self, request: gr.Request, search: str, kind: str, opened: Opened | None) -> Iterator[Updates]:
        """Go on with what is open; yield how far it is, at last the whole. Ends when the visitor leaves."""
        said: Updates = {}
        at = self.queueing(request)
        with self.running(request) as stop:
            try:
                if opened is None or opened.entry is None:
                    raise BadInput("Nothing is open.", "Open an entry of the list first.")
                if stop.is_set():
                    raise LeftQueue
                told, entry, patience = "", opened.entry, Patience(stop)
                asked = in_turn(at.turns, at.visitor, "resume", lambda: self.services.resume(entry.id, stop), stop)
                with closing(asked) as stream:
                    for shown in history_opened.progress(stream, entry):
                        if patience.lost():
                            yield self._stopped(with_why(stop, "Stopped. What is finished is kept."))
                            return
                        yield {self.parts.status: gr.skip() if shown == told else shown}
                        told = shown
            except LeftQueue:
                if not self.stops.replaced(stop):
                    yield self._stopped("Left the queue. Nothing ran.")
                return
            except Stopped:
                pass
            except Exception as error:
                found = runner.problem_of(error, "an entry could not be resumed", OUR_FAULT)
                said = {self.parts.problem: fragments.problem(found)}
            if self.stops.replaced(stop):
                return
        yield self._after(opened, search, kind, stop) | said

    def _stopped(self, told: str) -> Updates:
        """What can be done again as soon as nothing is awaited any more."""
        parts = self.parts
        return {
            parts.resume: gr.update(interactive=True),
            parts.stop: gr.update(visible=False),
            parts.status: fragments.said(told),
        }

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        super().leave(request)
        self._exports.forget(runner.session(request))

    def _after(self, opened: Opened | None, search: str, kind: str, stop: StopEvent) -> Updates:
        """The entry as it is once the work on it has ended."""

        def shown() -> Updates:
            found = self._kept(opened.id if opened else None)
            done = found.entry is not None and found.entry.state == "done"
            ended = "It is complete now." if done else with_why(stop, "What is finished is kept.")
            return (
                self._show(found)
                | self._listed(search, kind, value=found.id)
                | {self.parts.status: fragments.said(ended)}
            )

        return self._with_problems_shown(shown)

    def _kept(self, entry: int | None) -> Opened:
        history = self.services.history()
        if history is None or entry is None:
            raise BadInput("Nothing is kept on this page.", "Open a file instead.")
        if entry < 1:
            raise BadInput("This address names no entry of the history.", "Choose one from the list.")
        return history_opened.kept(history, entry)

    def _listed(self, search: str, kind: str, **marked: int | None) -> Updates:
        """The list; `value` is the entry that is marked as open, and without it that stays as it is."""
        history = self.services.history()
        if history is None:
            return {self.parts.entries: gr.update(rows="", visible="hidden")}  # it still obeys the address
        words = str(search or "")
        found = history.entries(words, next((it for it in lines.KINDS if it == kind), None), limit=LISTED + 1)
        table = lines.rows(found[:LISTED], searched=bool(words.strip() or kind), more=len(found) > LISTED)
        return {self.parts.entries: gr.update(rows=fragments.caution(history.warning) + table, **marked)}

    def _closed(self) -> Updates:
        """Nothing is open."""
        parts = self.parts
        return {
            parts.opened: None,
            parts.entries: gr.update(value=None),
            parts.shown: gr.update(visible=False),
            parts.sure: gr.update(visible=False),
            parts.charts: gr.update(visible=False),
            parts.status: fragments.said(""),
        }

    def _show(self, found: Opened) -> Updates:
        parts, record, entry = self.parts, found.record, found.entry
        resumable = entry is not None and entry.resumable and record is not None
        elsewhere = entry is not None and resumable and not self._asked(entry.id)
        others = self._others(entry)
        damaged = Problem(f"This entry cannot be read: {found.fault}", "Delete it, and run it again.")
        return {
            parts.opened: found,
            parts.entries: gr.update(value=found.id),
            parts.status: fragments.said(""),
            parts.problem: "" if record is not None else fragments.problem(damaged),
            parts.shown: gr.update(visible=True),
            parts.head: html.head(record, entry, elsewhere),
            parts.resume: gr.update(visible=resumable and not elsewhere, interactive=True),
            parts.stop: gr.update(visible=False),
            **{button: gr.update(visible=record is not None) for button in parts.formats},
            parts.delete: gr.update(visible=entry is not None and entry.state != "running"),
            parts.link: gr.update(visible=entry is not None),
            parts.sure: gr.update(visible=False),
            parts.beside: gr.update(visible=bool(others) and record is not None),
            parts.other: gr.update(choices=others, value=None),
            parts.together: "",
            parts.results: "" if record is None else _results(record),
            parts.charts: gr.update(visible=False),
        }

    def _asked(self, entry: int) -> bool:
        """Whether it is known what leads to an entry again: of an imported one it is not."""
        history = self.services.history()
        return history is not None and bool(history.asked(entry))

    def _others(self, entry: Entry | None) -> list[tuple[str, int]]:
        history = self.services.history()
        if history is None or entry is None:
            return []
        return [(lines.label(other), other.id) for other in history.entries(limit=LISTED) if other.id != entry.id]

    def _with_problems_shown(self, work: Callable[[], Updates], *, closing: bool = False) -> Updates:
        """What `work` gives; what a user can mend as the tab's problem, and a defect as no more than that.

        `closing`: what was open before is not left under the problem of another one.
        """
        try:
            return {self.parts.problem: ""} | work()
        except Exception as error:
            return (self._closed() if closing else {}) | {self.parts.problem: _told(error)}


def _told(error: BaseException) -> str:
    return fragments.problem(runner.problem_of(error, "the history tab failed", OUR_FAULT))


def _results(record: Comparison | Quality) -> str:
    return html.answers(record) if isinstance(record, Comparison) else html.figures(record)
