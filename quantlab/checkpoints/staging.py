"""Folders that are written aside and renamed when they are whole, and what killed processes left of such.

Whoever writes one holds a file lock, which the system gives back in whatever way the process ends: what lies aside
while nobody holds its lock is left over.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from quantlab.errors import BadInput, QuantlabError
from quantlab.runtime.disk import disk_errno, disk_error, is_disk_error


@dataclass(frozen=True)
class StagingArea:
    """The locks below `root`, what is written aside there, and notes of what is written aside elsewhere."""

    root: Path

    def lock(self, name: str) -> FileLock:
        """The lock of whoever builds `name`, not yet acquired. Raises OSError where nothing can be written."""
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{name}.lock")

    def aside(self, name: str) -> Path:
        """A new path for `name` to be written to, or to be emptied at; its builder holds the lock of that name."""
        return self._building / f"{name}.{uuid4().hex}"

    @contextmanager
    def idle(self, name: str) -> Iterator[bool]:
        """Whether nobody builds `name`; if so, nobody begins to within the block."""
        try:
            lock = self.lock(name)
        except OSError:
            yield False
            return
        with _alone(lock) as free:
            yield free

    @contextmanager
    def beside(self, folder: Path) -> Iterator[Path]:
        """A new folder to write into, which becomes `folder` when the block ends well (see `atomic_folder`). It lies
        beside it, on the same disk, and goes with a later `sweep` should this process be killed."""
        aside = folder.parent / f".{folder.name}.{uuid4().hex}"
        self.sweep()
        with self.register(aside), atomic_folder(aside, folder):
            yield aside

    @contextmanager
    def register(self, aside: Path) -> Iterator[None]:
        """Have `aside`, which lies elsewhere, removed by a later `sweep` should this process be killed in the block."""
        note = self._elsewhere / aside.name.rpartition(".")[2]
        lock = _lock_of(note)
        with suppress(OSError):  # a folder that cannot be written keeps no notes, and the work itself needs none
            note.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            note.write_text(str(aside))
        try:
            yield
        finally:
            _forget(note)
            lock.release()

    def sweep(self, mine: str | None = None) -> None:
        """Remove what killed processes left half-built, here and where their notes say.

        What a living process builds stays, because its lock is held. `mine` is a name whose lock the caller holds.
        """
        for left in _listed(self._building):
            name = left.name.rpartition(".")[0]
            if name == mine:
                shutil.rmtree(left, ignore_errors=True)
                continue
            with self.idle(name) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
        for note in _listed(self._elsewhere):
            if note.suffix != ".lock":
                with _alone(_lock_of(note)) as free:
                    if free:
                        _remove_noted(note)

    @property
    def _building(self) -> Path:
        return self.root / ".building"

    @property
    def _elsewhere(self) -> Path:
        return self.root / ".elsewhere"


@contextmanager
def atomic_folder(aside: Path, folder: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` when the block ends well and vanishes when it does not.

    Raises BadInput where it cannot be created or `folder` is taken, Unavailable where the disk is full, ModelError
    where a file cannot be read or written; messages name `folder`.
    """
    try:
        _create(aside, folder)
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors writes files that only their owner may read
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(folder)
    except QuantlabError as error:
        error.what = error.what.replace(str(aside), str(folder))
        raise
    except Exception as error:
        if not is_disk_error(error):
            raise
        if disk_errno(error) == errno.ENOTEMPTY:  # another process was quicker
            raise BadInput(
                f"{folder} exists and is not empty.", "Name a new folder: nothing is written over."
            ) from None
        told = disk_error(error)
        raise type(told)(told.what.replace(str(aside), str(folder)), told.advice) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _create(aside: Path, folder: Path) -> None:
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise BadInput(f"{folder} cannot be created ({error.strerror}).", "Name another folder.") from error


@contextmanager
def _alone(lock: FileLock) -> Iterator[bool]:
    """Whether the lock could be had at once; if so, it is held within the block."""
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _lock_of(note: Path) -> FileLock:
    return FileLock(note.with_suffix(".lock"))


def _remove_noted(note: Path) -> None:
    with suppress(OSError):
        left = Path(note.read_text())
        # A note that was itself cut short names something else, which is left alone.
        if left.suffix == f".{note.name}":
            shutil.rmtree(left, ignore_errors=True)
    _forget(note)


def _forget(note: Path) -> None:
    with suppress(OSError):
        note.unlink(missing_ok=True)
        note.with_suffix(".lock").unlink(missing_ok=True)
