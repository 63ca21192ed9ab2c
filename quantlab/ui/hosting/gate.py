"""Stands before the page's own server (ASGI): an access log without prompts, a rate for each visitor."""

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from quantlab.errors import BadInput
from quantlab.ui.hosting.metrics import Metrics
from quantlab.ui.hosting.quota import App, Scope
from quantlab.ui.hosting.visitors import Visitors

log = logging.getLogger("quantlab.access")
#: What a visitor asks the server to do, rather than to show. `login` has a rate of its own.
_ASKS = re.compile(r"/(queue/join|(call(/v2)?|run|api)/[^/]+|upload|component_server)/?$")
_LOGIN = re.compile(r"/login/?$")
#: Answers that run until all is told.
_ANSWERS = re.compile(r"/(queue/data|call/[^/]+/[^/]+)/?$")
#: Parts of the page itself are not worth a line, nor is what a page sends to say that it is open.
_SILENT = re.compile(r"^/(assets|static|svelte|theme\.css|favicon\.ico|healthz|metrics)|/(theme\.css|heartbeat/)")
#: What follows names a file or a session of a visitor's.
_NAMED = re.compile(r"((?:file|proxy)=|/(?:file|call/[^/]+|stream|heartbeat|monitoring)/).*")
#: Wrong passwords of one visitor.
_WRONG = parse("20/minute")


def rate_of(text: str) -> RateLimitItem | None:
    """A rate as `limits` writes it, such as "60/minute"; None for an empty one. Raises BadInput."""
    if not text.strip():
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"QUANTLAB_RATE_LIMIT is no rate: {text}.", 'Write it like "60/minute".') from error


class Open:
    """How many answers are on their way out at this moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, change: int) -> None:
        with self._lock:
            self._count += change

    def any(self) -> bool:
        return self._count > 0


class Gate:
    """`rate` bounds what one visitor asks for; None: nothing does. `logged`: a line for each request."""

    def __init__(
        self, app: App, metrics: Metrics, visitors: Visitors, answers: Open, rate: str = "", logged: bool = False
    ) -> None:
        self._app, self._metrics, self._visitors, self._answers = app, metrics, visitors, answers
        self._rate, self._logged = rate_of(rate), logged
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method, visitor = scope["path"], scope["method"], self._visitors.of(scope)
        status, begun, answer = [0], time.monotonic(), bool(_ANSWERS.search(path))

        async def sending(message: dict) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        self._answers.add(answer)
        try:
            if (left := self._too_often(method, path, visitor)) is not None:
                self._metrics.refuse("rate")
                await refuse(sending, 429, f"That was too often. Try again in {left} s.", left)
            else:
                await self._app(scope, receive, sending)
                if method == "POST" and _LOGIN.search(path) and status[0] == 400:
                    self._metrics.refuse("login")
                    self._limiter.hit(_WRONG, visitor)
        finally:
            self._answers.add(-answer)
            if self._logged and not _SILENT.search(path):
                took = (time.monotonic() - begun) * 1_000
                shown = _NAMED.sub(r"\1...", path)[:100].encode("unicode_escape").decode()
                log.info("%s %s %s %d %.0f ms", visitor, method, shown, status[0], took)

    def _too_often(self, method: str, path: str, visitor: str) -> int | None:
        """Seconds until this visitor may ask again; None: now."""
        if method != "POST":
            return None
        if _LOGIN.search(path):
            rate = _WRONG
            good = self._limiter.test(rate, visitor)
        elif self._rate is not None and _ASKS.search(path):
            rate = self._rate
            good = self._limiter.hit(rate, visitor)
        else:
            return None
        if good:
            return None
        return max(1, math.ceil(self._limiter.get_window_stats(rate, visitor).reset_time - time.time()))


async def refuse(send: Callable, code: int, why: str, again_s: int | None = None) -> None:
    """Answer as gradio's own clients read it: they show `detail`."""
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if again_s is not None:
        headers.append((b"retry-after", str(again_s).encode()))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
