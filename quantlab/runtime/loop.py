"""A coroutine in a thread of its own, for callers that are generators: what waits for the network can be called off."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()
#: How often `stop` is looked at while nothing comes, and how long a cancelled coroutine may tidy up.
_EVERY_S, _TIDY_S = 0.05, 5.0


def told(
    job: Callable[[Callable[[T], object]], Coroutine[Any, Any, object]], stop: threading.Event
) -> Generator[T, None, None]:
    """Run `job(tell)`, yield what it tells, and raise its error.

    Setting `stop`, or closing the generator, cancels the job at once, and the generator ends.
    """
    feed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    errors: list[BaseException] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(job(feed.put))

    def work() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # handed over whole, and raised where it belongs
            errors.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            feed.put(_END)

    thread = threading.Thread(target=work, name="quantlab-loop", daemon=True)
    thread.start()
    try:
        while not stop.is_set():
            with suppress(queue.Empty):
                item = feed.get(timeout=_EVERY_S)
                if item is _END:
                    break
                yield item
    finally:
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join(_TIDY_S)
    if errors:
        raise errors[0]
