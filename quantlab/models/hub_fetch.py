"""Files of the Hub, fetched into its library's cache by that library. Runs in a process of its own (`quantlab.worker`).

The library asks, takes up a cut connection where it broke, has one process fetch a file for all, and puts it into the
cache when it has the size that was told; where hf_xet is installed and the server stores that way, the bytes come
through Xet. It compares nothing with a checksum, so that is done here for every file that came: its size, and its
sha256 (large files) or Git's sha1 (the others), as the Hub lists them.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

from quantlab.errors import ModelError, Stopped
from quantlab.models.hub_cache import File, Snapshot
from quantlab.models.hub_errors import not_answering, told
from quantlab.records import Progress

_WORKERS = 4
_POLL_S = 0.1
#: How often a file is asked for whose download the library gives up at once: the server is busy, or broke off.
ATTEMPTS = 4
_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)


def fetch(
    progress: Progress,
    what: str,
    snapshot: dict[str, str],
    files: Sequence[dict[str, Any]],
    chunk_bytes: int,
    pause_s: float,
    silence_s: float,
) -> None:
    """Fetch `files` of `snapshot`, telling `progress` of bytes on this disk and in total.

    Raises ModelError for whatever goes wrong, also where nothing comes for `silence_s` seconds.
    """
    from huggingface_hub import constants

    # The library writes, and tells, so many at once: ten million, which a slow line takes a quarter of a minute for.
    constants.DOWNLOAD_CHUNK_SIZE = chunk_bytes
    place = Snapshot(**snapshot)
    with told(place.repo, place.commit):
        _Fetching(place, [File(**file) for file in files], pause_s, silence_s).run(progress, what)


class _Fetching:
    """Several files at once, each by a thread."""

    def __init__(self, snapshot: Snapshot, files: list[File], pause_s: float, silence_s: float) -> None:
        self._snapshot, self._files = snapshot, files
        self._pause_s, self._silence_s = pause_s, silence_s
        self._arrived = dict.fromkeys((file.name for file in files), 0)
        self._checking: set[str] = set()
        self._stop = Event()

    def run(self, progress: Progress, what: str) -> None:
        total = sum(file.size for file in self._files)
        seen, since = -1, time.monotonic()
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="quantlab-download")
        try:
            pending = {pool.submit(self._one, file) for file in self._files}
            while pending:
                arrived = min(sum(self._arrived.values()), total)
                progress(arrived, total, what)
                if arrived != seen or self._others_work():
                    seen, since = arrived, time.monotonic()
                elif time.monotonic() - since > self._silence_s:
                    raise not_answering()
                finished, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            progress(total, total, what)
        finally:
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _others_work(self) -> bool:
        """Whether something goes on that brings no bytes of our own: a check, or another process at the same file."""
        try:
            written = max(
                (it.stat().st_mtime for file in self._files for it in self._snapshot.remains(file)), default=0
            )
        except FileNotFoundError:  # it has just become whole
            return True
        return bool(self._checking) or time.time() - written < self._silence_s

    def _one(self, file: File) -> None:
        note = self._snapshot.note(file.name)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        pointer = self._by_the_library(file)
        self._checking.add(file.name)
        _check(pointer, file, self._snapshot.repo)
        self._checking.discard(file.name)
        note.unlink(missing_ok=True)
        self._arrived[file.name] = file.size

    def _by_the_library(self, file: File) -> Path:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import HTTPError

        for left in range(ATTEMPTS - 1, -1, -1):
            self._arrived[file.name] = 0
            try:
                found = hf_hub_download(
                    self._snapshot.repo,
                    file.name,
                    revision=self._snapshot.commit,
                    cache_dir=self._snapshot.cache,
                    tqdm_class=_bar(lambda count: self._count(file, count)),
                )
                return Path(found)
            except Exception as error:
                if not left or not _may_pass(error):
                    raise
                if not isinstance(error, HTTPError):  # it may be Xet's, and plain HTTP get through where that does not
                    constants.HF_HUB_DISABLE_XET = True
                self._stop.wait(self._pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _count(self, file: File, count: int) -> None:
        if self._stop.is_set():  # where there is no process to end
            raise Stopped
        self._arrived[file.name] += count


def _bar(count: Callable[[int], None]) -> type:
    """A class that the library takes for a progress bar: `count` is told of bytes as they are written."""

    class Bar:
        n = total = 0

        def __init__(self, *_args: object, **_options: object) -> None: ...

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_error: object) -> None: ...

        def update(self, n: int | None = 1) -> None:
            count(n or 0)

        def update_transfer(self, n: int | None = 1) -> None:
            """What came over the line: under Xet it is less than what is written, and told beside it."""

        def __getattr__(self, _name: str) -> Callable[..., None]:
            return lambda *_args, **_options: None

    return Bar


def _may_pass(error: Exception) -> bool:
    """Whether to ask again: errors that the library does not ask again over itself, and that may be gone then."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _RETRIED_STATUS
    if isinstance(error, HTTPError):
        return type(error).__name__ == "ReadError"
    if isinstance(error, Stopped | EntryNotFoundError):
        return False
    return not isinstance(error, OSError) or error.errno is None  # too short, or Xet's


def _check(pointer: Path, file: File, repo: str) -> None:
    """Hold a file to what the Hub lists. Raises ModelError, and removes it, where it is another."""
    size = pointer.stat().st_size
    with pointer.open("rb") as opened:
        if file.sha256:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        else:
            found = hashlib.sha1(b"blob %d\0" % size + opened.read(), usedforsecurity=False).hexdigest()
    if (size, found) == (file.size, file.sha256 or file.blob):
        return
    for each in reversed(_links(pointer)):
        each.unlink(missing_ok=True)
    raise ModelError(
        f"What came as {file.name} of {repo!r} is not what the Hub lists: its checksum is another.",
        "Try again; where HF_ENDPOINT names a mirror, ask the Hub itself.",
    )


def _links(pointer: Path) -> list[Path]:
    """A file of a snapshot and what it leads to: its content in the repository's cache, or in that of all of them."""
    found = [pointer]
    while found[-1].is_symlink():
        found.append(Path(os.path.normpath(found[-1].parent / os.readlink(found[-1]))))
    return found
