"""Folders of a model's files that are made of others once and kept: aside, and renamed when whole; by one process."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import BaseFileLock, FileLock, Timeout

from quantlab.models import sealed
from quantlab.records import Progress

#: In the name of what is not whole yet.
ASIDE = "~"
_WAIT_S = 0.2


def make_once(
    folder: Path, is_whole: Callable[[Path], bool], make: Callable[[Path], None], progress: Progress, what: str
) -> None:
    """Have `make` fill the folder unless it `is_whole`; a list of its files is left inside (see `sealed`).

    `progress` hears of another process that makes `what`, and may raise `Stopped`. Raises OSError and what `make` does.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder, progress, what):
        if is_whole(folder):
            return
        for left in folder.parent.glob(f"{folder.name}{ASIDE}*"):  # of a process that was killed: its lock is ours now
            shutil.rmtree(left, ignore_errors=True)
        aside = folder.with_name(f"{folder.name}{ASIDE}{uuid4().hex}")
        try:
            make(aside)
            sealed.seal(aside)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or it would have been taken
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _alone(folder: Path, progress: Progress, what: str) -> Iterator[None]:
    """Inside, no other process makes `folder`. The lock of a process that was killed is free."""
    lock: BaseFileLock = FileLock(folder.with_name(f"{folder.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_WAIT_S)
            break
        except Timeout:
            progress(0, 0, f"another process makes {what}")
    try:
        yield
    finally:
        lock.release()
