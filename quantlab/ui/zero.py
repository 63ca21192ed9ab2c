"""ZeroGPU: there a GPU is lent to a decorated function, which runs in a forked worker."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from quantlab.records import Event, Settings
from quantlab.settings import AppSettings

Compare = Callable[..., Iterator[Event]]


def on_lent_gpu(compare: Compare, app: AppSettings) -> Compare:
    """`compare` as it must be called here: itself, or on ZeroGPU a decorated one.

    Arguments and events are pickled on their way to the worker and back, which a `threading.Event` cannot be: stop
    is polled on this side, and closing the generator ends the worker's call.
    """
    if not app.zero_gpu:
        return compare
    import spaces

    @spaces.GPU(duration=int(app.max_seconds))
    def lent(model: Any, precisions: Sequence[str], prompt: str, settings: Settings) -> Iterator[Event]:
        yield from compare(model, precisions, prompt, settings)

    def here(
        model: Any, precisions: Sequence[str], prompt: str, settings: Settings, *, stop: threading.Event | None = None
    ) -> Iterator[Event]:
        with closing(lent(model, precisions, prompt, settings)) as events:
            for event in events:
                yield event
                if stop is not None and stop.is_set():
                    return

    return here
