"""A visitor's turn from the asking to the end of the work: what every job that uses the machine goes through."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import gradio as gr
from gradio.context import LocalContext

from quantlab.errors import Stopped
from quantlab.settings import AppSettings
from quantlab.ui.common.stream import batches
from quantlab.ui.turns.cut_short import CutShort, TimeUp, why
from quantlab.ui.turns.turns import Place, Turn, Turns, never

T = TypeVar("T")
#: The header that says which client of the tools asks.
VISITOR = "x-quantlab-visitor"


@dataclass(frozen=True)
class Visitor:
    """Who asks: the name that turns are counted by, and whether he has left meanwhile."""

    name: str
    gone: Callable[[], bool] = never


def visitor(request: gr.Request) -> Visitor:
    """Whoever sent the event that is handled now: who signed in with Hugging Face, else a tool's client by its address,
    else the page's session. Beside a class's password any name can be typed, which tells nobody from another.

    A browser tells when its page is closed. A program may just hang up, which gradio's queue notes with its event, or
    cancel, which ends the event's task; neither reaches a generator that waits.
    """
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = page._queue if page is not None and event_id is not None else None
    tasks = [] if queue is None else [it for it in tuple(queue._asyncio_tasks) if it.get_name().endswith(str(event_id))]

    def gone() -> bool:
        event = queue.event_ids_to_events.get(event_id) if queue is not None else None
        return (event is not None and not event.alive) or any(task.cancelling() for task in tasks)

    name = _signed_in(request) or _of_tools(request) or f"page: {request.session_hash or event_id}"
    return Visitor(name, gone)


def _of_tools(request: gr.Request) -> str:
    """All calls of tools come in one session, with what the gate wrote down of who asked. Whoever writes that himself
    gains nothing: a session's name is free as well."""
    headers = getattr(request, "headers", None) or {}
    who = headers.get(VISITOR) if headers.get("x-gradio-user") == "mcp" else None
    return f"tools: {who}" if who else ""


def _signed_in(request: gr.Request) -> str:
    scope = getattr(getattr(request, "request", None), "scope", None) or {}
    told = (scope.get("session") or {}).get("oauth_info") or {}
    who = (told.get("userinfo") or {}).get("sub")
    return f"signed in: {who}" if who else ""


def limit_s(app: AppSettings) -> float:
    """How long a run may take, in seconds: in public its visitors share the machine."""
    return app.max_seconds if app.public else float("inf")


def nothing() -> None:
    """Of work that is never there already."""


def in_turn(
    turns: Turns,
    who: Visitor,
    kind: str,
    events: Callable[[], Generator[T, None, object]],
    stop: threading.Event,
    seconds: float = float("inf"),
    answered: Callable[[], Generator[T, None, object] | None] = nothing,
) -> Generator[Place | CutShort | list[T], None, None]:
    """Wait for a turn and do the work in a thread: yield places while it waits, then batches (see `batches`).

    `answered` gives the events of the same work where it was done by somebody else, before or while this one waits:
    they need no turn.

    After `seconds` of work `stop` is set. Why the work was cut short, by that or by the server's end, is given once;
    what the work still tells comes after it. The turn is over when the work has ended, also where nobody waits for that
    any more, so that no two works overlap. Raises Full at once where no more are taken in, and LeftQueue where `stop`
    is set, or `who` is gone, before the turn comes.
    """
    there: list[Generator[T, None, object]] = []

    def done() -> bool:
        found = answered()
        there.extend([] if found is None else [found])
        return found is not None

    if not done():
        turn = turns.enter(who.name, kind)
        try:
            yield from turn.places(stop, lambda: who.gone() or done())
        except BaseException:
            turn.leave()
            if not there:
                raise
    if there:
        yield from batches(lambda: there[0], stop, nothing)
        return
    deadline, cut, late = time.monotonic() + seconds, None, threading.Event()
    leave = partial(_leave, turn, stop, late)
    with closing(batches(events, stop, leave)) as stream:
        try:
            for batch in stream:
                if cut is None and (cut := why(stop)) is not None:
                    yield cut
                yield batch
                if time.monotonic() > deadline and not stop.is_set():
                    late.set()
                    stop.set()
                    yield TimeUp(seconds)
        except Stopped:
            if cut is None and (cut := why(stop)) is not None:
                yield cut
            raise


def _leave(turn: Turn, stop: threading.Event, late: threading.Event) -> None:
    """What ran into its limit took as long as such work may take; what somebody stopped tells nothing."""
    turn.leave(whole=late.is_set() or not stop.is_set())
