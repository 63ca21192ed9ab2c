"""Keeping a comparison or a quality run while it goes on: its events pass through here to whoever looks."""

import logging
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any, TypeVar

from quantlab.errors import QuantlabError
from quantlab.history.history import History
from quantlab.records import Comparison, Quality, events

_LOG = logging.getLogger(__name__)

E = TypeVar("E", events.Event, events.QualityEvent)
#: Of a `Started`, or of a `QualityStarted`, as the events are.
Draft = Callable[[Any], Comparison | Quality]


class Recorder:
    """Keeps one comparison or quality run.

    `history` None keeps nothing. `asked` and `key` as in `History.begin`, the key until the work has begun; `entry` is
    the id of one that is resumed, else of the one begun, None before that. `fault` says why no more is kept: a history
    that cannot be written never takes the work with it.
    """

    def __init__(
        self, history: History | None, asked: dict[str, Any], key: str | None = None, entry: int | None = None
    ) -> None:
        self.entry = entry
        self.fault = ""
        self._history = history
        self._asked = asked
        self.key = key
        self._open = entry is not None

    def follow(self, stream: Generator[E, None, None], draft: Draft) -> Generator[E, None, None]:
        """The same events, each passed on when what it carries is kept; a `NotKept` where that fails.

        `draft` makes the record without runs from what is known at the start. Where the events end early, by an error
        or because nobody looks any more, the entry is marked interrupted.
        """
        try:
            with closing(stream):
                for event in stream:
                    if why := self._kept(event, draft):
                        yield events.NotKept(why)
                    yield event
        finally:
            if self._open and self._history is not None and self.entry is not None:
                with suppress(QuantlabError):
                    self._history.interrupt(self.entry)

    def leave(self) -> None:
        """Keep nothing of what comes: it is in the history already."""
        self._history = None

    def _keep(self, history: History, event: events.Event | events.QualityEvent, draft: Draft) -> None:
        match event:
            case events.Started(precisions=precisions) | events.QualityStarted(precisions=precisions) if (
                self.entry is None
            ):
                self.entry = history.begin(draft(event), self._asked, precisions, self.key)
                self._open = True
            case events.ReferenceMoved(precision=precision) if self.entry is not None:
                history.refer(self.entry, precision)
            case events.Finished(run=run) | events.Measured(run=run) if self.entry is not None:
                history.add_run(self.entry, run)
            case events.Done(comparison=record) | events.QualityDone(quality=record) if self.entry is not None:
                history.finish(self.entry, record)
                self._open = False

    def _kept(self, event: events.Event | events.QualityEvent, draft: Draft) -> str:
        """Keep what it carries; why that could not be done, the first time that it cannot."""
        if self._history is None or self.fault:
            return ""
        try:
            self._keep(self._history, event, draft)
        except QuantlabError as error:
            self.fault = str(error)
            _LOG.info("the history is not kept any further: %s", error)
            return self.fault
        return ""
