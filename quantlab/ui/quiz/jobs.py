"""The classes of one page."""

import logging
import threading

from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import Classroom, open_classroom

log = logging.getLogger(__name__)


class ClassJobs:
    """The classroom that the settings name, opened when it is first asked for. Any thread may call it."""

    def __init__(self, app: AppSettings) -> None:
        self._app = app
        self._opening = threading.Lock()
        self._classroom: Classroom | None = None

    def __call__(self) -> Classroom | None:
        """None where there are no classes. Raises Unavailable where the file cannot be used: call again later."""
        with self._opening:
            if self._classroom is None:
                self._classroom = open_classroom(self._app, catalog(self._app))
                if self._classroom is not None and self._classroom.warning:
                    log.warning("%s", self._classroom.warning)
            return self._classroom
