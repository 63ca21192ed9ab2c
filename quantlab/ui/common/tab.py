"""What the handlers of every tab with long work share: whose work runs, and that it ends with its page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.ui.common import runner
from quantlab.ui.common.stream import StopEvents
from quantlab.ui.services import Services

#: Events that compute on the device share one place: a second visitor queues.
DEVICE_QUEUE = {"concurrency_limit": 1, "concurrency_id": "gpu"}
SMALL = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class TabHandlers:
    """Bound to one page's components, `parts`. Which session runs what is kept in `StopEvents`."""

    def __init__(self, parts: Any, app: AppSettings, services: Services) -> None:
        self.parts = parts
        self.app = app
        self.services = services
        self.stops = StopEvents()

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
