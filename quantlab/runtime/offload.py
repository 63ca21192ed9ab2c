"""Folders for layers that a device map leaves on the disk: each goes when its variant does.

What a killed process left goes when the next folder is made. Whoever uses one holds a file lock, which the system gives
back in whatever way the process ends.
"""

import logging
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from quantlab.settings import app_settings

_LOG = logging.getLogger(__name__)
_LOCK = ".lock"


class OffloadFolder:
    """A new, empty folder for one variant, beside the quantized checkpoints: they lie where there is room.

    Raises OSError where none can be made.
    """

    def __init__(self) -> None:
        sweep()
        self._lock = _lock(_root() / uuid4().hex)
        _root().mkdir(parents=True, exist_ok=True)
        self._lock.acquire(timeout=0)  # before there is a folder: one without a lock held is taken for left over
        self.path = Path(self._lock.lock_file).with_suffix("")
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove it with what is in it. Nothing happens where it is gone already."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        with suppress(OSError):
            Path(self._lock.lock_file).unlink(missing_ok=True)


def sweep() -> int:
    """Remove what killed processes left; how many bytes that gave back. What a living one uses stays."""
    freed = 0
    with suppress(OSError):
        for left in list(_root().iterdir()):
            if left.suffix != _LOCK:
                freed += _remove_left(left)
    if freed:
        _LOG.info("%s bytes of offloaded layers were removed that a killed process had left", f"{freed:,}")
    return freed


def _remove_left(folder: Path) -> int:
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return 0
    try:
        with suppress(OSError):
            nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder)
            return nbytes
        return 0
    finally:
        lock.release()
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)


def _root() -> Path:
    return app_settings().cache_folder.expanduser().absolute() / ".offload"


def _lock(folder: Path) -> FileLock:
    # Not thread-local: a variant is dropped in whichever thread finds the memory short.
    return FileLock(folder.with_suffix(_LOCK), thread_local=False)
