"""Stands before the page's own server (ASGI): an access log without prompts, and no guessing of passwords."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable

from quantlab.ui.hosting.metrics import Metrics
from quantlab.ui.hosting.quota import App, Scope
from quantlab.ui.hosting.rate import Rate
from quantlab.ui.hosting.visitors import Visitors
from quantlab.ui.turns.taking import VISITOR

log = logging.getLogger("quantlab.access")
_LOGIN = re.compile(r"/login/?$")
#: Answers that run until all is told.
_ANSWERS = re.compile(r"/(queue/data|call/[^/]+/[^/]+)/?$")
#: Parts of the page itself are not worth a line, nor is what a page sends to say that it is open.
_SILENT = re.compile(r"^/(assets|static|svelte|theme\.css|favicon\.ico|healthz|metrics)|/(theme\.css|heartbeat/)")
#: What follows names a file or a session of a visitor's.
_NAMED = re.compile(r"((?:file|proxy)=|/(?:file|call/[^/]+|stream|heartbeat|monitoring)/).*")
#: Where clients of the tools ask: gradio hands their headers on, and asks for all of them in one session of its own.
_TOOLS = re.compile(r"/gradio_api/mcp(/|$)")
#: Wrong passwords of one visitor.
_WRONG = "20/minute"


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
    """`logged`: a line for each request."""

    def __init__(self, app: App, metrics: Metrics, visitors: Visitors, answers: Open, logged: bool = False) -> None:
        self._app, self._metrics, self._visitors, self._answers = app, metrics, visitors, answers
        self._logged, self._wrong = logged, Rate(_WRONG)

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method, visitor = scope["path"], scope["method"], self._visitors.of(scope)
        if _TOOLS.search(path):
            scope = scope | {"headers": [*_without(VISITOR, scope), (VISITOR.encode(), visitor.encode())]}
        guess = method == "POST" and bool(_LOGIN.search(path))
        status, begun, answer = [0], time.monotonic(), bool(_ANSWERS.search(path))

        async def sending(message: dict) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        self._answers.add(answer)
        try:
            if guess and self._wrong.reached(visitor):
                left = self._wrong.left_s(visitor)
                await refuse(sending, 429, f"That was too often. Try again in {left} s.", left)
            else:
                await self._app(scope, receive, sending)
                if guess and status[0] == 400:
                    self._metrics.refuse("login")
                    self._wrong.hit(visitor)
        finally:
            self._answers.add(-answer)
            if self._logged and not _SILENT.search(path):
                took = (time.monotonic() - begun) * 1_000
                shown = _NAMED.sub(r"\1...", path)[:100].encode("unicode_escape").decode()
                log.info("%s %s %s %d %.0f ms", visitor, method, shown, status[0], took)


def _without(name: str, scope: Scope) -> list[tuple[bytes, bytes]]:
    return [pair for pair in scope["headers"] if pair[0] != name.encode()]


async def refuse(send: Callable, code: int, why: str, again_s: int | None = None) -> None:
    """Answer as gradio's own page reads it: it shows `detail` of what is queued, `error` of what is not."""
    body = json.dumps({"detail": why, "error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if again_s is not None:
        headers.append((b"retry-after", str(again_s).encode()))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
