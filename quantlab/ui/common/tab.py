"""What the handlers of every tab with long work share: whose work runs, and that it ends with its page."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import StopEvents
from quantlab.ui.services import Services

#: Events that compute on the device share one place: a second visitor queues.
DEVICE_QUEUE = {"concurrency_limit": 1, "concurrency_id": "gpu"}
SMALL = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def wire_stop(button: gr.Button, handlers: "TabHandlers", shown: list[Any], run: Any) -> None:
    """A click on Stop: a run that waits for its place leaves the queue at once, a running one is told to stop.

    Gradio cancels at an event of a component only, not after another event: hence a button that a script clicks.
    """
    leave = gr.Button(visible="hidden", elem_id=f"{button.elem_id}-waiting")
    leave.click(None, None, None, cancels=[run])
    waiting = gr.Checkbox(visible="hidden")
    told = button.click(handlers.stop, None, shown, **SMALL)
    waits = told.then(handlers.leave_queue, None, waiting, **SMALL)
    waits.then(None, waiting, None, js=f"(waits) => waits && document.querySelector('#{leave.elem_id}').click()")


@dataclass(frozen=True)
class InputFields:
    """The inputs of a tab; each class of them has the fields of the choice that it makes, in their order."""

    def listed(self) -> list[gr.components.Component]:
        return [getattr(self, field.name) for field in fields(self)]


class TabHandlers(ABC):
    """Bound to one page's components, `parts`. Which session runs what is kept in `StopEvents`."""

    def __init__(self, parts: Any, app: AppSettings, services: Services) -> None:
        self.parts = parts
        self.app = app
        self.services = services
        self.stops = StopEvents()

    def stop(self, request: gr.Request) -> dict[Any, Any]:
        """Tell this session's work to stop; what waits is gone with that."""
        session = runner.session(request)
        waits = self.stops.waits(session)
        self.stops.stop(session)
        return self._left_queue() if waits else self._stopping()

    @abstractmethod
    def _left_queue(self) -> dict[Any, Any]:
        """What is shown of work that was called off before it had its place. Each tab has its own."""

    def _stopping(self) -> dict[Any, Any]:
        """What is shown until work that runs has ended."""
        return {self.parts.stop: gr.update(interactive=False), self.parts.status: fragments.stopping()}

    def leave_queue(self, request: gr.Request) -> bool:
        """Whether the run still waits in the queue, so that what follows takes it out; a running one ends by its stop
        event, and keeps what it has."""
        return self.stops.leave_queue(runner.session(request))

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
