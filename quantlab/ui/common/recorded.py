"""The page's runs, kept in the history where there is one."""

import logging
import threading
from collections.abc import Generator

from quantlab.errors import QuantlabError
from quantlab.history import History
from quantlab.records import ComparisonRequest, QualityRequest
from quantlab.records.events import Event, Events, NotKept, QualityEvent, QualityEvents
from quantlab.settings import AppSettings

log = logging.getLogger(__name__)


class RecordedJobs:
    """The history of one page, and the services that write it. Any thread may call them."""

    def __init__(self, app: AppSettings) -> None:
        self._file, self._limit = app.history_file, app.history_bytes
        self._opening = threading.Lock()
        self._history: History | None = None

    def history(self) -> History | None:
        """The history, None where nothing is kept. What processes left behind is marked when it is first opened.

        Raises Unavailable where the file cannot be used, BadInput where it is of a newer version; the next call tries
        again.
        """
        if self._file is None:
            return None
        with self._opening:
            if self._history is None:
                found = History(self._file, self._limit)
                if left := found.mark_interrupted():
                    log.info("%d entries of the history were interrupted", left)
                self._history = found
            return self._history

    def compare(
        self, request: ComparisonRequest, *, stop: threading.Event | None = None, fresh: bool = False
    ) -> Events:
        """As `runs.compare.compare`; replayed where the history has it, unless `fresh`."""
        from quantlab.runs import recorded  # brings torch

        history, why = self._usable()
        yield from why
        yield from recorded.recorded_compare(history, request, stop=stop, fresh=fresh)

    def unkept(self, request: ComparisonRequest, *, stop: threading.Event | None = None, fresh: bool = False) -> Events:
        """The same for what learners type: kept nowhere, so that none sees another's."""
        from quantlab.runs import recorded

        yield from recorded.recorded_compare(None, request, stop=stop, fresh=fresh)

    def quality(self, request: QualityRequest, *, stop: threading.Event | None = None) -> QualityEvents:
        """As `runs.quality.quality`."""
        from quantlab.runs import recorded

        history, why = self._usable()
        yield from why
        yield from recorded.recorded_quality(history, request, stop=stop)

    def resume(self, entry: int, stop: threading.Event) -> Generator[Event | QualityEvent, None, None]:
        """Go on with an entry; see `runs.recorded.resumed`."""
        from quantlab.runs import recorded

        history = self.history()
        if history is not None:
            yield from recorded.resumed(history, entry, stop)

    def _usable(self) -> tuple[History | None, list[NotKept]]:
        """The history, None also where it cannot be used and then an event that says why: a run goes on without."""
        try:
            return self.history(), []
        except QuantlabError as error:
            log.warning("nothing is kept: %s", error)
            return None, [NotKept(str(error))]
