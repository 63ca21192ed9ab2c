"""ZeroGPU: there a GPU is lent to a decorated function, which runs in a forked worker."""

import logging
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
import httpx

from quantlab.errors import QuantlabError, Unavailable
from quantlab.settings import AppSettings
from quantlab.ui.compare.form import DEFAULT_TICKS
from quantlab.ui.hosting.lent import Pace
from quantlab.ui.turns.cut_short import GPU_TAKEN_BACK, cut

E = TypeVar("E")
Job = Callable[..., Generator[E, None, None]]
log = logging.getLogger(__name__)
#: A worker ends by itself so many seconds before its time is over, to say what it has.
_SPARE_S = 3.0
#: (model, precision) of what the parent holds in memory, which every worker finds there.
_residents: set[tuple[str, str]] = set()


def load_residents(app: AppSettings) -> None:
    """On ZeroGPU, load the default precisions of the first model before the page is served; elsewhere do nothing.

    A worker is forked for each call and dies with what it loads. What the parent holds it finds in place.
    """
    if not app.zero_gpu:
        return
    from quantlab import methods, models
    from quantlab.records import Placement, Variant
    from quantlab.runs import compare as comparison
    from quantlab.runtime import placement

    try:
        model = models.resolve(models.known_models(app)[0].name, app)
        where = placement.resolve(Placement(app.device or "auto"))
    except QuantlabError:
        # The page still works: each call then loads what it needs.
        log.exception("no variants are resident")
        return
    for precision in methods.precisions(DEFAULT_TICKS[: app.max_columns]):
        try:
            with _in_this_thread(), comparison.variant_cache().lease(Variant(model, precision, where)):
                _residents.add((model.name, precision.name))
                log.info("%s is resident", precision.name)
        except Exception:
            log.exception("%s is not resident", precision.name)


@contextmanager
def _in_this_thread() -> Iterator[None]:
    """transformers reads weights in threads, and what stands in for CUDA where no GPU is lent is in none of them."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


@dataclass(frozen=True)
class _Raised:
    """An error for a user, on its way from the worker: another process's errors lose their words there."""

    kind: type[QuantlabError]
    what: str
    advice: str

    def again(self) -> QuantlabError:
        error = self.kind.__new__(self.kind)
        QuantlabError.__init__(error, self.what, self.advice)
        return error


@dataclass(frozen=True)
class _TakenBack:
    """Told by the worker before what it has, where its time was over."""


def on_lent_gpu(job: Job[E], app: AppSettings) -> Job[E]:
    """`job` as it must be called here: itself, or on ZeroGPU a decorated one.

    Arguments and events are pickled on their way to the worker and back, which a `threading.Event` cannot be: stop
    is polled on this side, and closing the generator ends the worker's call. A refusal of ZeroGPU's is told as
    Unavailable.
    """
    if not app.zero_gpu:
        return job
    import spaces

    pace = Pace(_residents)

    # The seconds go along: a worker of an earlier run knows only what had been learnt then.
    @spaces.GPU(duration=lambda request, seconds: seconds)
    def lent(request: Any, seconds: int) -> Generator[E | _Raised | _TakenBack, None, None]:
        stop = threading.Event()
        clock = threading.Timer(seconds - _SPARE_S, stop.set)
        clock.daemon = True
        clock.start()
        try:
            told = False
            with closing(job(request, stop=stop)) as events:
                for event in events:
                    if stop.is_set() and not told:
                        told = True
                        yield _TakenBack()
                    yield event
        except QuantlabError as error:
            yield _Raised(type(error), error.what, error.advice)
        finally:
            clock.cancel()

    def here(request: Any, *, stop: threading.Event | None = None, **kept: bool) -> Generator[E, None, None]:
        # `kept` says how to use the history, which a Space does not have.
        seconds = pace.seconds(request)
        try:
            with closing(lent(request, seconds)) as events:
                for event in events:
                    if isinstance(event, _Raised):
                        raise event.again()
                    if isinstance(event, _TakenBack):
                        if stop is not None:
                            cut(stop, GPU_TAKEN_BACK)
                        continue
                    pace.saw(event)
                    yield event
                    if stop is not None and stop.is_set():
                        return
        except gr.Error as error:
            raise in_words(error, seconds) from error
        except httpx.HTTPError as error:
            raise Unavailable("ZeroGPU does not answer, so no GPU can be had.", "Try again in a minute.") from error

    return here


def in_words(error: gr.Error, seconds: int) -> Exception:
    """A refusal of ZeroGPU's as one of ours: what it says, with links written out, and what to do about it.

    What is no refusal but a fault inside the worker stays a defect.
    """
    title = str(error.title)
    said = re.sub(r"\[([^]]*)\]\(([^)]*)\)", r"\1 (\2)", str(error.message)).strip().rstrip(".")
    asked = f"This run asked for {seconds} s of a GPU; fewer precisions and fewer new tokens ask for less."
    if title == "ZeroGPU worker error":
        if "aborted" not in said:
            return RuntimeError(f"the worker broke off: {said}")
        return Unavailable(f"The GPU was taken back before the run was done: {said}.", asked)
    if "timeout" in title or "client error" in title:
        return Unavailable(f"No GPU is free: {said}.", "Try again in a minute.")
    return Unavailable(f"ZeroGPU lends you no GPU now: {said}.", f"{asked} Signed in at Hugging Face you have more.")
