"""One visitor's quality run from the choice to the views: limits, clock, stop, and errors in a visitor's words."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from quantlab.errors import QuantlabError, Stopped
from quantlab.settings import AppSettings
from quantlab.ui import quality_choice as choices
from quantlab.ui.quality_choice import QualityChoice
from quantlab.ui.quality_view import QualityView, fold, halt
from quantlab.ui.runner import OUR_FAULT
from quantlab.ui.services import Services
from quantlab.ui.stream import batches
from quantlab.ui.view import Problem

log = logging.getLogger(__name__)


def views(
    choice: QualityChoice, app: AppSettings, services: Services, stop: threading.Event
) -> Iterator[QualityView]:  # fmt: skip
    """Measure; yield what the tab shows each time that something may have changed.

    Never raises for what a run can meet: a `QuantlabError` becomes the view's problem, anything else a plain remark,
    with the traceback in the log only. Closing the generator sets `stop`.
    """
    view = QualityView(tasks=choice.all_tasks)
    try:
        choices.check(choice, app)
        if stop.is_set():
            raise Stopped
        settings = choices.settings(choice, app)

        def events():
            return services.quality(choice.model, choice.precisions, choices.text(choice), settings, stop=stop)

        with closing(batches(events, stop)) as stream:
            deadline = time.monotonic() + app.max_seconds if app.public else float("inf")
            for batch in stream:
                now = time.monotonic()
                view = replace(view, at=now)
                for event in batch:
                    view = fold(view, event, now)
                if now > deadline and not stop.is_set():
                    stop.set()
                    view = replace(view, notice=f"Stopped after {app.max_seconds:g} s, the limit of this public page.")
                yield view
        view = halt(view)
    except Stopped:
        view = halt(view)
    except QuantlabError as error:
        view = halt(view, Problem(error.what, error.advice))
    except Exception:
        log.exception("a quality run failed")
        view = halt(view, OUR_FAULT)
    yield view
