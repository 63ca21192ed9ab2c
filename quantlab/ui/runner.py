"""One visitor's comparison from the choice to the views: limits, clock, stop, and errors in a visitor's words."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import gradio as gr

from quantlab.errors import QuantlabError, Stopped
from quantlab.settings import AppSettings
from quantlab.ui import choice as choices
from quantlab.ui.choice import Choice
from quantlab.ui.services import Services
from quantlab.ui.stream import batches
from quantlab.ui.view import Problem, View, fold, halt

log = logging.getLogger(__name__)
OUR_FAULT = Problem("Something went wrong on our side.", "Your inputs are kept. Try again, or choose fewer precisions.")


def views(choice: Choice, app: AppSettings, services: Services, stop: threading.Event) -> Iterator[View]:
    """Run a comparison; yield what the page shows each time that something may have changed.

    Never raises for what a run can meet: a `QuantlabError` becomes the view's problem, anything else a plain remark,
    with the traceback in the log only. Closing the generator sets `stop`.
    """
    view = View(meaningless=choice.model.startswith("shape:"))
    try:
        choices.check(choice, app)
        if stop.is_set():
            raise Stopped
        settings = choices.settings(choice, app)

        def events():
            asked = (choice.model, choice.precisions, choice.prompt, settings)
            return services.compare(*asked, stop=stop, fresh=choice.fresh)

        with closing(batches(events, stop)) as stream:
            deadline = time.monotonic() + app.max_seconds if app.public else float("inf")
            for batch in stream:
                for event in batch:
                    view = fold(view, event)
                if time.monotonic() > deadline and not stop.is_set():
                    stop.set()
                    view = replace(view, notice=f"Stopped after {app.max_seconds:g} s, the limit of this public page.")
                yield view
        view = halt(view)
    except Stopped:
        view = halt(view)
    except QuantlabError as error:
        view = halt(view, Problem(error.what, error.advice))
    except Exception:
        log.exception("a comparison failed")
        view = halt(view, OUR_FAULT)
    yield view


def session(request: gr.Request) -> str:
    """The name of a page's session; all clients of the API share one."""
    return request.session_hash or "api"
