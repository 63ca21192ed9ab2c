"""A folder that holds so many bytes: which of what it keeps goes when that is too much: the least recently used first.

When something was used last is the time of one file of it, which `touch` renews. Other processes write and clear such
a folder too: what goes while it is looked at is not there.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """Something in the folder: a file, or a folder of files. `used` is in nanoseconds since 1970."""

    name: str
    nbytes: int
    used: int


def touch(mark: Path, marks: Iterable[Path] = ()) -> None:
    """Note that something was used now. `mark` is the file that tells, `marks` those of everything in the folder.

    It is later than each of them, also where the clock was set back since: else what is used would go first. Raises
    FileNotFoundError where it is not there.
    """
    newest = max((_used_ns(other) for other in marks if other != mark), default=0)
    os.utime(mark, ns=(max(time.time_ns(), newest + 1),) * 2)


def _used_ns(mark: Path) -> int:
    try:
        return mark.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def item(path: Path, mark: Path | None = None) -> Item | None:
    """What lies at `path`; None where it went meanwhile. `mark` is the file whose time tells, without one itself."""
    try:
        return Item(path.name, nbytes(path), (mark or path).stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def items(paths: Iterable[Path], mark: str = "") -> Iterator[Item]:
    """All that are there, in no order; `mark` names the file of each folder whose time tells."""
    for path in paths:
        if (found := item(path, path / mark if mark else None)) is not None:
            yield found


def nbytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder. Raises FileNotFoundError where it is not there."""
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def shrink(held: Iterable[Item], limit: int, keep: str, remove: Callable[[str], bool]) -> None:
    """Remove the least recently used until all take at most `limit` bytes together; `keep` is the name of what stays.

    `remove` is given a name and says whether it went: what is in use stays, and another one goes for it.
    """
    oldest_first = sorted(held, key=lambda it: it.used)
    total = sum(it.nbytes for it in oldest_first)
    for it in oldest_first:
        if total <= limit:
            return
        if it.name != keep and remove(it.name):
            total -= it.nbytes
