"""Questions to the Hub that are answered in moments, or in none: Stop does not wait for them."""

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NoReturn, TypeVar

from quantlab.models.quiet import QUIET_HUB
from quantlab.records import Progress

_POLL_S = 0.1
Answer = TypeVar("Answer")


def ask(question: Callable[[], Answer], progress: Progress, what: str) -> Answer:
    """What `question` returns, or raises. It is asked in a thread, which is left alone where `progress` raises."""
    answers: SimpleQueue[Callable[[], Answer]] = SimpleQueue()

    def work() -> None:
        try:
            with QUIET_HUB:
                found = question()
            answers.put(lambda: found)
        except BaseException as error:  # whoever asked is told
            answers.put(partial(_raised, error))

    Thread(target=work, name="quantlab-hub", daemon=True).start()
    while True:
        progress(0, 0, what)
        try:
            answer = answers.get(timeout=_POLL_S)
        except Empty:
            continue
        return answer()


def _raised(error: BaseException) -> NoReturn:
    raise error
