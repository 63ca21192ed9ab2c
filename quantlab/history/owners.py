"""Which processes are at work on a history: each holds a lock of its own, which ends with it, also by kill -9.

A process id would not do: it is given again, and a container does not see another's.
"""

import os
import threading
from functools import cache
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

_SUFFIX = ".lock"


class Owners:
    """The locks in one folder. This process takes its own when it is first asked for a name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # By process id: a forked child is a process of its own, and must not let go of what its parent holds.
        self._held: dict[int, tuple[str, FileLock]] = {}
        self._taking = threading.Lock()

    def mine(self) -> str:
        """The name of this process, whose lock it holds from now on. Raises OSError where there can be no lock."""
        with self._taking:
            if os.getpid() not in self._held:
                self._folder.mkdir(parents=True, exist_ok=True)
                name = uuid4().hex
                lock = _lock(self._folder / f"{name}{_SUFFIX}")
                lock.acquire()
                self._held[os.getpid()] = (name, lock)
            return self._held[os.getpid()][0]

    def alive(self, name: str) -> bool:
        """Whether the process of that name still is there. The lock of one that is gone is taken away."""
        if self._held.get(os.getpid(), ("",))[0] == name:
            return True
        file = self._folder / f"{name}{_SUFFIX}"
        if not file.exists():
            return False
        try:
            with _lock(file):
                file.unlink(missing_ok=True)
        except Timeout:
            return True
        except OSError:  # no right to look: nothing is said about it
            return True
        return False

    def sweep(self) -> None:
        """Take away the locks of all processes that are gone."""
        for file in self._folder.glob(f"*{_SUFFIX}"):
            self.alive(file.stem)


@cache
def owners(folder: Path) -> Owners:
    """The locks in a folder, the same for everybody in this process."""
    return Owners(folder)


def _lock(file: Path) -> FileLock:
    # Not thread-local: it is taken in whichever thread comes first, and belongs to the process.
    return FileLock(file, timeout=0, thread_local=False)
