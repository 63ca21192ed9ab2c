"""One visitor's run from the first view to the last: its turn, limits, stop, and errors in a visitor's words."""

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import gradio as gr

from quantlab.errors import QuantlabError, Stopped, is_exit
from quantlab.settings import AppSettings
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.stream import Patience
from quantlab.ui.turns.cut_short import CutShort
from quantlab.ui.turns.taking import Visitor, in_turn, limit_s, nothing
from quantlab.ui.turns.turns import LeftQueue, Place, Turns

log = logging.getLogger(__name__)
OUR_FAULT = Problem("Something went wrong on our side.", "Your inputs are kept. Try again, or choose fewer precisions.")
#: A view: a dataclass with a `notice`, the `place` while it waits, and whether it `left` the queue before its turn.
V = TypeVar("V", bound=Any)


@dataclass(frozen=True)
class Job:
    """What was asked for, checked. `kind` names runs that take about as long as one another (see `Turns`); `answered`
    gives the events of one that needs no turn because it was answered before (see `in_turn`)."""

    kind: str
    events: Callable[[], Generator[Any, None, None]]
    answered: Callable[[], Generator[Any, None, None] | None] = nothing


@dataclass(frozen=True)
class Queueing:
    """Where a visitor's runs take their turns."""

    turns: Turns
    visitor: Visitor


def watched(
    view: V,
    begin: Callable[[], Job],
    see: Callable[[V, Sequence[Any]], V],
    halt: Callable[[V, Problem | None], V],
    app: AppSettings,
    stop: threading.Event,
    queueing: Queueing,
) -> Generator[V, None, None]:
    """From a first view to the last: `begin` checks the choice, `see` folds what came into a view.

    While the run waits for its turn, the views have its place and nothing else. Never raises for what a run can meet: a
    `QuantlabError` becomes the view's problem, anything else a plain remark, with the traceback in the log only.
    Closing the generator sets `stop`. Where a stopped run takes its time to end, its view is halted and nothing more
    comes; its turn lasts until it has ended.
    """
    problem = None
    try:
        job = begin()
        if stop.is_set():
            raise LeftQueue
        turns, who = queueing.turns, queueing.visitor
        with closing(in_turn(turns, who, job.kind, job.events, stop, limit_s(app), job.answered)) as stream:
            patience = Patience(stop)
            for told in stream:
                if isinstance(told, Place):
                    yield replace(view, place=told)
                    continue
                view = replace(view, notice=told.notice) if isinstance(told, CutShort) else see(view, told)
                if patience.lost():
                    break
                yield view
    except LeftQueue:
        view = replace(view, left=True)
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
