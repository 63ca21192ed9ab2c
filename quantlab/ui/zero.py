"""ZeroGPU: there a GPU is lent to a decorated function, which runs in a forked worker."""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

from quantlab.settings import AppSettings
from quantlab.ui.compare.form import DEFAULT_TICKS

E = TypeVar("E")
Job = Callable[..., Generator[E, None, None]]
log = logging.getLogger(__name__)


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
        for precision in methods.precisions(DEFAULT_TICKS):
            with comparison.variant_cache().lease(Variant(model, precision, where)):
                log.info("%s is resident", precision.name)
    except Exception:
        # The page still works: each call then loads what it needs.
        log.exception("no variants are resident")


def on_lent_gpu(job: Job[E], app: AppSettings) -> Job[E]:
    """`job` as it must be called here: itself, or on ZeroGPU a decorated one.

    Arguments and events are pickled on their way to the worker and back, which a `threading.Event` cannot be: stop
    is polled on this side, and closing the generator ends the worker's call.
    """
    if not app.zero_gpu:
        return job
    import spaces

    @spaces.GPU(duration=int(app.max_seconds))
    def lent(request: Any) -> Generator[E, None, None]:
        yield from job(request)

    def here(request: Any, *, stop: threading.Event | None = None, **kept: bool) -> Generator[E, None, None]:
        # `kept` says how to use the history, which a Space does not have.
        with closing(lent(request)) as events:
            for event in events:
                yield event
                if stop is not None and stop.is_set():
                    return

    return here
