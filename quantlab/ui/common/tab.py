"""What the handlers of every tab with long work share: whose work runs, and that it ends with its page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import StopEvents
from quantlab.ui.services import Services
from quantlab.ui.turns.taking import visitor

#: Events that use the machine wait in `Turns` for one another, where they tell their places; gradio calls all at once.
TAKES_TURNS: dict[str, Any] = {"concurrency_limit": None, "concurrency_id": "turns"}
#: Of what is chosen or typed while an earlier choice is still looked up, the last one counts. Gradio would drop it.
LAST: dict[str, Any] = {"trigger_mode": "always_last"}
SMALL = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class InputFields:
    """The inputs of a tab; each class of them has the fields of the choice that it makes, in their order."""

    def listed(self) -> list[gr.components.Component]:
        return [getattr(self, field.name) for field in fields(self)]


class TabHandlers:
    """Bound to one page's components, `parts`. Which session runs what is kept in `StopEvents`."""

    def __init__(self, parts: Any, app: AppSettings, services: Services) -> None:
        self.parts = parts
        self.app = app
        self.services = services
        self.stops = StopEvents()

    def stop(self, request: gr.Request) -> dict[Any, Any]:
        """Tell this session's work to stop: it keeps what it has, and what waits for its turn leaves the queue."""
        self.stops.stop(runner.session(request))
        return self._stopping()

    def _stopping(self) -> dict[Any, Any]:
        """What is shown until the work has ended."""
        return {self.parts.stop: gr.update(interactive=False), self.parts.status: fragments.stopping()}

    def queueing(self, request: gr.Request) -> runner.Queueing:
        """Where this visitor's work takes its turns."""
        return runner.Queueing(self.services.turns, visitor(request))

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.stops.stop(runner.session(request))

    @contextmanager
    def running(self, request: gr.Request) -> Iterator[threading.Event]:
        """The stop event of the session's work, which is over when the block ends, however it ends."""
        session = runner.session(request)
        stop = self.stops.of(session)
        try:
            yield stop
        finally:
            stop.set()
            self.stops.end(session, stop)
