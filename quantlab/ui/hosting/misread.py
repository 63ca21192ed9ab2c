"""Refuses in gradio's place what nobody can answer: gradio would tell of an error of its own, at length in the log, or
break its answer off."""

import logging
import re
from collections.abc import Callable
from urllib.parse import parse_qs

from quantlab.ui.hosting.gate import refuse
from quantlab.ui.hosting.quota import App, Scope

log = logging.getLogger(__name__)
#: What gradio reads for itself. No code of ours runs there: its queue calls that later.
_READ = re.compile(r"/gradio_api/")
_CALLED = re.compile(r"/call/(?:v2/)?(?P<name>[^/]+)/?$")
#: Events of a run, by its own id, or all of a session's.
_TOLD = re.compile(r"/call/(?:v2/)?[^/]+/(?P<id>[^/]+)$")
_TOLD_TO_PAGE = re.compile(r"/queue/data/?$")


class Misread:
    """Stands before the page's own server (ASGI)."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or not _READ.search(scope["path"]):
            await self._app(scope, receive, send)
            return
        begun, unknown = False, _unknown(scope)

        async def sending(message: dict) -> None:
            nonlocal begun
            # Whoever is not let in is told that first.
            if unknown and message["type"] == "http.response.start" and message["status"] == 200:
                raise KeyError("no such run")
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            if unknown:
                await refuse(send, 404, "There is no such run.")
                return
            log.warning("%s cannot be read: %s: %s", scope["path"][:100], type(error).__name__, str(error)[:200])
            await refuse(send, *_said(scope["path"], error))


def _unknown(scope: Scope) -> bool:
    """Whether it asks for the events of something that is not there: gradio finds out once its answer has begun."""
    if scope["method"] != "GET":
        return False
    if told := _TOLD.search(scope["path"]):
        session = told["id"]
    elif _TOLD_TO_PAGE.search(scope["path"]):
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
    else:
        return False
    return session not in scope["app"].get_blocks()._queue.pending_messages_per_session


def _said(path: str, error: Exception) -> tuple[int, str]:
    called = _CALLED.search(path)
    if called and isinstance(error, TypeError):  # what is missing, or not known, by its name
        return 422, f"{error}"[:300]
    if called:
        return 404, f"There is no endpoint {called['name'][:60]!r}. Those there are: /gradio_api/info."
    return 400, "This request cannot be read."
