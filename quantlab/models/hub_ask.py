"""Questions to the Hub that are answered in moments, or in none: Stop does not wait for them."""

import io
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from quantlab.models.quiet import QUIET_HUB
from quantlab.records import Progress

#: How long an answer may take, in seconds.
TIMEOUT_S = 10.0
_POLL_S = 0.1
Answer = TypeVar("Answer")


def ask(question: Callable[[], Answer], progress: Progress, what: str, patience_s: float | None = None) -> Answer:
    """What `question` returns, or raises. It is asked in a thread, which is left alone where `progress` raises.

    Raises TimeoutError after `patience_s`, for questions that would wait for ever.
    """
    answers: SimpleQueue[tuple[Answer | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            with QUIET_HUB:
                answers.put((question(), None))
        except BaseException as error:  # whoever asked is told
            answers.put((None, error))

    Thread(target=work, name="quantlab-hub", daemon=True).start()
    until = None if patience_s is None else time.monotonic() + patience_s
    while True:
        progress(0, 0, what)
        try:
            answer, error = answers.get(timeout=_POLL_S)
        except Empty:
            if until is not None and time.monotonic() > until:
                raise TimeoutError from None
            continue
        if error is not None:
            raise error
        return answer


class Remote(io.RawIOBase):
    """A file on a server, read from its beginning in pieces, each by a request of its own. For `io.BufferedReader`.

    The library's own file asks two questions of the Hub before it reads, and takes the whole file into memory where a
    server does not send parts. Raises the HTTP errors of huggingface_hub.
    """

    def __init__(self, url: str, size: int, headers: Mapping[str, str]) -> None:
        self._url, self._size, self._headers, self._position = url, size, dict(headers), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        found = self._range(self._position, stop)
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _range(self, start: int, stop: int) -> bytes:
        from huggingface_hub.utils import get_session, hf_raise_for_status

        asked = self._headers | {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        found = bytearray()
        with get_session().stream(
            "GET", self._url, headers=asked, timeout=TIMEOUT_S, follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            skipped = 0 if response.status_code == 206 else start  # it sends the whole file
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) >= skipped + stop - start:
                    break
        return bytes(found[skipped : skipped + stop - start])
