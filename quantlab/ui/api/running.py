"""A run as a program follows it: the same job, limits and clock as the page's, told as events."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.export.codec import plain
from quantlab.export.told import event_data
from quantlab.records.events import Done, Event, Loading, Measuring, QualityDone, QualityEvent, Token
from quantlab.settings import AppSettings
from quantlab.ui.common import runner
from quantlab.ui.common.problem import Problem
from quantlab.ui.turns.turns import Place

Told = dict[str, Any]
#: Nothing is new. It is told all the same, for only what tells can find out that nobody listens any more.
WORKING: Told = {"event": "working"}
_OUR_FAULT = Problem("Something went wrong on our side.", "Try again, or ask for fewer precisions.")
#: Of these only the newest is told where several come at once: it says all that the others said.
_PASSING = (Token, Loading, Measuring)


@dataclass(frozen=True)
class Batch:
    """What is told at once: a `place` while the run waits for its turn, which it may have `left`; then events. `notice`
    says that the run was cut short, `problem` why there was none."""

    events: tuple[Event | QualityEvent, ...] = ()
    notice: str = ""
    problem: Problem | None = None
    place: Place | None = None
    left: bool = False


def told(
    begin: Callable[[threading.Event], runner.Job],
    app: AppSettings,
    queueing: runner.Queueing,
    brief: bool,
) -> Iterator[Told]:
    """The events of a run, which `begin` checks and gives, told when to stop. The last one is `done` with the whole
    record. Closing the generator stops the run.

    `brief`: without the lists that have an entry for each token. Raises gr.Error with what happened and what to do.
    """
    batch, done, stop = Batch(), False, threading.Event()
    with closing(runner.watched(batch, lambda: begin(stop), _see, _halt, app, stop, queueing)) as batches:
        for batch in batches:
            if batch.problem is not None:
                raise refused(batch.problem)
            for event in newest(batch.events):
                data = event_data(event)
                if isinstance(event, Done | QualityDone):
                    done = True
                    data["notice"] = batch.notice or None
                yield shortened(data) if brief else data
            if batch.place is not None:
                yield {"event": "waiting", **plain(batch.place)}
            elif not batch.events and not done:
                yield WORKING
    if not done:
        raise refused(Problem(batch.notice or "Stopped."))


def _see(before: Batch, events: Sequence[Event | QualityEvent]) -> Batch:
    return replace(before, events=tuple(events))


def _halt(before: Batch, problem: Problem | None) -> Batch:
    return replace(before, events=(), problem=problem)


def newest(events: Sequence[Event | QualityEvent]) -> list[Event | QualityEvent]:
    """The events in their order, without those that a later one of the same kind and precision makes old."""
    last = {(type(it), it.precision): i for i, it in enumerate(events) if isinstance(it, _PASSING)}
    return [
        it for i, it in enumerate(events) if not isinstance(it, _PASSING) or last[type(it), it.precision] == i
    ]  # fmt: skip


#: Lists with an entry for each token, question or layer.
_LONG = (
    *("differences", "token_ids", "tokens", "prompt_token_ids", "prompt_tokens", "itl_s", "ttft_samples"),
    *("decode_samples", "window_kld", "correct", "layers", "buckets", "device_map", "details"),
)


def shortened(data: Any) -> Any:
    """Plain data without the long lists, for readers who pay for each word."""
    if isinstance(data, dict):
        return {
            key: shortened(value)
            for key, value in data.items()
            if key not in _LONG or not isinstance(value, dict | list)
        }
    return [shortened(item) for item in data] if isinstance(data, list) else data


@contextmanager
def plainly(what: str) -> Iterator[None]:
    """Whatever goes wrong is told in plain sentences; a defect is in the log alone, under `what`."""
    try:
        yield
    except QuantlabError as error:
        raise refused(Problem(error.what, error.advice)) from None
    except Exception as error:
        raise refused(runner.problem_of(error, what, _OUR_FAULT)) from None


def refused(problem: Problem) -> gr.Error:
    """The error that a client gets. Gradio prints nothing of it."""
    return gr.Error(f"{problem.what} {problem.advice}".strip(), print_exception=False)
