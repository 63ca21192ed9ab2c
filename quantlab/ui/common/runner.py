"""One visitor's run from the first view to the last: limits, clock, stop, and errors in a visitor's words."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

import gradio as gr

from quantlab.errors import QuantlabError, Stopped, is_exit
from quantlab.settings import AppSettings
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.stream import Patience, batches

log = logging.getLogger(__name__)
OUR_FAULT = Problem("Something went wrong on our side.", "Your inputs are kept. Try again, or choose fewer precisions.")
#: A view: a dataclass with a `notice`.
V = TypeVar("V", bound=Any)


def watched(
    view: V,
    begin: Callable[[], Callable[[], Generator[Any, None, None]]],
    see: Callable[[V, Sequence[Any]], V],
    halt: Callable[[V, Problem | None], V],
    app: AppSettings,
    stop: threading.Event,
) -> Generator[V, None, None]:
    """From a first view to the last: `begin` checks the choice and gives the events, `see` folds what came into a view.

    Never raises for what a run can meet: a `QuantlabError` becomes the view's problem, anything else a plain remark,
    with the traceback in the log only. Closing the generator sets `stop`. Where a stopped run takes its time to end,
    its view is halted at once and nothing comes until it has ended.
    """
    problem = None
    try:
        events = begin()
        if stop.is_set():
            raise Stopped
        with closing(batches(events, stop)) as stream:
            deadline = time.monotonic() + app.max_seconds if app.public else float("inf")
            patience, left = Patience(stop), False
            for batch in stream:
                if left:
                    continue
                view = see(view, batch)
                if time.monotonic() > deadline and not stop.is_set():
                    stop.set()
                    view = replace(view, notice=f"Stopped after {app.max_seconds:g} s, the limit of this public page.")
                left = patience.lost()
                yield halt(view, None) if left else view
    except Stopped:
        pass
    except BaseException as error:
        if is_exit(error):
            raise
        problem = problem_of(error, "a run failed")
    yield halt(view, problem)


def problem_of(error: BaseException, what: str, fault: Problem = OUR_FAULT) -> Problem:
    """An error as a visitor reads it. One that is no `QuantlabError` is a defect: `fault`, and the log has it whole."""
    if isinstance(error, QuantlabError):
        return Problem(error.what, error.advice)
    log.error(what, exc_info=error)
    return fault


def session(request: gr.Request) -> str:
    """The name of a page's session; all clients of the API share one."""
    return request.session_hash or "api"
