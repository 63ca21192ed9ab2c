"""Files over HTTP into a cache, several at once, stopped within moments and resumed where they ended.

`huggingface_hub` starts a file anew when its download was cut or cancelled. Here what has arrived stays beside its
place as `NAME.incomplete`, the name under which the library's own cache tools know such remains.
"""

import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import ModelError, Stopped
from quantlab.records import Progress

WORKERS = 4
CHUNK_BYTES = 1 << 20
#: How often the caller hears of the progress, and so how soon it can stop.
POLL_S = 0.1
#: A server that sends nothing for so long counts as a failed attempt.
TIMEOUT_S = 10.0
ATTEMPTS = 4
PAUSE_S = 1.0
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Download:
    """One file to fetch: `size` in bytes; `sha256` None where the server does not say it."""

    url: str
    path: Path
    lock: Path
    size: int
    sha256: str | None

    @property
    def partial(self) -> Path:
        return self.path.with_name(self.path.name + ".incomplete")

    @property
    def missing_bytes(self) -> int:
        """What is still to come, given what lies there already. Another process may be at work on it."""
        arrived = 0
        with suppress(FileNotFoundError):
            arrived = self.partial.stat().st_size
        # Looked for last: a partial file that is gone has become the whole one.
        return 0 if self.path.exists() else self.size - min(self.size, arrived)


def fetch(downloads: Sequence[Download], headers: Mapping[str, str], progress: Progress, what: str) -> None:
    """Fetch all files, telling `progress` of bytes done and in total.

    What `progress` raises ends it at once: no thread is waited for, each stops by itself at its next chunk. Raises
    the HTTP error of the first file that failed for good, OSError where the disk is full.
    """
    total = sum(download.size for download in downloads)
    done = {download.path: download.size - download.missing_bytes for download in downloads}
    stop = threading.Event()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="quantlab-download")
    try:
        pending = {pool.submit(_fetch_one, download, headers, done, stop) for download in downloads}
        while pending:
            progress(sum(done.values()), total, what)
            finished, pending = wait(pending, timeout=POLL_S, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        progress(total, total, what)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


class Remote(io.RawIOBase):
    """A file on a server, read from its beginning in pieces, each by a request of its own. For `io.BufferedReader`.

    Raises the HTTP errors of huggingface_hub.
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
            for chunk in response.iter_bytes(CHUNK_BYTES):
                found += chunk
                if len(found) >= skipped + stop - start:
                    break
        return bytes(found[skipped : skipped + stop - start])


def _fetch_one(download: Download, headers: Mapping[str, str], done: dict[Path, int], stop: threading.Event) -> None:
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.utils import WeakFileLock

    for folder in (download.path.parent, download.lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(download.lock):
        resumed, failures = download.partial.exists(), 0
        while not download.path.exists():
            if stop.is_set():
                raise Stopped
            before = download.missing_bytes
            try:
                _stream(download, headers, done, stop)
                _finish(download, resumed)
            except HTTPError as error:
                final = isinstance(error, HfHubHTTPError) and error.response.status_code not in RETRIED_STATUS
                # A connection that brings something before it breaks is slow, not dead.
                failures = 1 if download.missing_bytes < before else failures + 1
                if final or failures >= ATTEMPTS:
                    raise
                resumed = True
                stop.wait(PAUSE_S)
    done[download.path] = download.size


def _stream(download: Download, headers: Mapping[str, str], done: dict[Path, int], stop: threading.Event) -> None:
    """Append to the partial file what is missing. Raises Stopped when told to, leaving what has arrived."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    if not download.missing_bytes and download.partial.exists():
        return
    start = download.size - download.missing_bytes
    asked = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", download.url, headers=asked, timeout=TIMEOUT_S, follow_redirects=True) as response:
        hf_raise_for_status(response)
        start = start if response.status_code == 206 else 0
        with download.partial.open("ab" if start else "wb") as partial:
            done[download.path] = start
            for chunk in response.iter_bytes(CHUNK_BYTES):
                if stop.is_set():
                    raise Stopped
                partial.write(chunk)
                done[download.path] += len(chunk)


def _finish(download: Download, resumed: bool) -> None:
    """Put a complete file in its place. One sewn together from several answers is compared with its checksum."""
    right = download.partial.stat().st_size == download.size
    if right and resumed and download.sha256:
        with download.partial.open("rb") as partial:
            right = hashlib.file_digest(partial, "sha256").hexdigest() == download.sha256
    if not right:
        download.partial.unlink()
        raise ModelError(f"What arrived from {download.url} is not what the Hub lists.", "Try again.")
    os.replace(download.partial, download.path)
