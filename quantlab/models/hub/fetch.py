"""Files of the Hub, fetched into its library's cache by that library, in a process of its own (`runtime.worker`).

The library takes up a cut connection where it broke, has one process fetch a file for all, and uses Xet where the
server has it. It asks again after neither a server's error nor a reset connection, and compares nothing with a
checksum: that is done here.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

from quantlab.errors import ModelError, Stopped
from quantlab.models.hub.cache import File, Snapshot
from quantlab.models.hub.errors import translate_errors, worth_asking_again
from quantlab.records import Progress

_WORKERS = 4
_POLL_S = 0.1
#: How often a file is asked for, with a pause before each new attempt.
ATTEMPTS = 4
_PAUSE_S = 1.0


def fetch(
    progress: Progress, what: str, snapshot: dict[str, str], files: Sequence[dict[str, Any]], chunk_bytes: int
) -> None:
    """Fetch `files` of `snapshot`, several at once, telling `progress` of bytes that came and in total.

    Raises ModelError for whatever goes wrong.
    """
    from huggingface_hub import constants

    # The library writes, and tells, so many at once: ten million, which a slow line takes a quarter of a minute for.
    constants.DOWNLOAD_CHUNK_SIZE = chunk_bytes
    place, wanted, stop = Snapshot(**snapshot), [File(**file) for file in files], Event()
    came, total = dict.fromkeys((file.name for file in wanted), 0), sum(file.size for file in wanted)
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="quantlab-download")
    with translate_errors(place.repo, place.commit):
        try:
            pending = {pool.submit(_fetch_one, place, file, came, stop) for file in wanted}
            while pending:
                progress(min(sum(came.values()), total), total, what)
                finished, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            progress(total, total, what)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _fetch_one(place: Snapshot, file: File, came: dict[str, int], stop: Event) -> None:
    from huggingface_hub import hf_hub_download

    def count(new_bytes: int) -> None:
        if stop.is_set():  # where there is no process to end
            raise Stopped
        came[file.name] += new_bytes

    note = place.note(file.name)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()
    for left in reversed(range(ATTEMPTS)):
        came[file.name] = 0
        try:
            pointer = hf_hub_download(
                place.repo, file.name, revision=place.commit, cache_dir=place.cache, tqdm_class=_bar(count)
            )
            break
        except Exception as error:
            if not left or not _may_pass(error):
                raise
            stop.wait(_PAUSE_S)
    _check(Path(pointer), file, place.repo)
    note.unlink(missing_ok=True)
    came[file.name] = file.size


def _bar(count: Callable[[int], None]) -> type:
    """A progress bar that shows nothing: `count` is told of bytes as they are written."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *_args: object, **_options: object) -> None:
            super().__init__(disable=True)

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """What came over the line: under Xet it is less than what is written, and told beside it."""

    return Bar


def _may_pass(error: Exception) -> bool:
    """Whether to ask again over an error that the library does not ask again over itself."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    if type(error) is RuntimeError:  # Xet's only kind: plain HTTP may get through where that does not
        constants.HF_HUB_DISABLE_XET = True
        return True
    return worth_asking_again(error)


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
    # A link between the two leads nowhere then, and the next download replaces it.
    for each in (pointer.resolve(), pointer):
        each.unlink(missing_ok=True)
    raise ModelError(
        f"What came as {file.name} of {repo!r} is not what the Hub lists: its checksum is another.",
        "Try again; where HF_ENDPOINT names a mirror, ask the Hub itself.",
    )
