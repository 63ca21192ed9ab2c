"""What uploads may take on a public page's disk: a bound for one request, and one for all that lie there."""

import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

Scope = dict[str, Any]
App = Callable[[Scope, Callable, Callable], Awaitable[None]]
#: What a form puts around a file.
_AROUND = 10_000


class UploadQuota:
    """Stands before the page's own server (ASGI) and answers in its place where an upload would be too much.

    `each` bytes may come in one request, however many files it holds, and `together` may lie on the disk in at most
    `files` files. They go by themselves: see `delete_cache` of `gr.Blocks`.
    """

    def __init__(self, app: App, each: int, together: int, files: int) -> None:
        self._app, self._each, self._together, self._files = app, each, together, files
        self._lock = threading.Lock()
        self._coming = 0

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if not length.isdigit():
            await _refuse(send, 411, "An upload has to say how long it is.")
        elif int(length) > self._each + _AROUND:
            await _refuse(send, 413, f"An upload has at most {self._each:,} bytes here: maximum allowed size.")
        elif not self._enter():
            await _refuse(send, 507, "Too many files were uploaded here. They are removed within the hour: try later.")
        else:
            try:
                await self._app(scope, receive, send)
            finally:
                with self._lock:
                    self._coming -= 1

    def _enter(self) -> bool:
        """Whether there is room for one more, those that are on their way counted as large as may be."""
        with self._lock:
            sizes = list(_sizes(Path(get_upload_folder())))
            coming = self._coming + 1
            if len(sizes) + coming > self._files or sum(sizes) + coming * self._each > self._together:
                return False
            self._coming = coming
            return True


def _sizes(folder: Path) -> Iterator[int]:
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(where, name)).st_size
            except OSError:  # it went meanwhile
                continue


async def _refuse(send: Callable, code: int, why: str) -> None:
    body = why.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
