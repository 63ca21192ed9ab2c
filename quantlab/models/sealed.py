"""Folders that are written once and read for ever: a list of their files, kept inside, tells damage from wholeness.

Cheap enough for every look: each file must have its size, and a file that has not been touched since it was written is
believed. Of one whose time has changed all bytes are read (0.3 GB take about a second, once for each state of the
file in a process). Damage that changes neither size nor time, as of a failing disk, is not noticed.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

#: No ending of a model's files, so that it is no part of what the model is.
LIST = "WHOLE"


def seal(folder: Path) -> None:
    """List the files that lie in `folder` now: name, size in bytes, time of the last change in ns, sha256."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name != LIST]
    found = {it.name: [it.stat().st_size, it.stat().st_mtime_ns, _sha256(it)] for it in files}
    (folder / LIST).write_text(json.dumps(found, indent=1))


def is_whole(folder: Path) -> bool:
    """Whether every file that was sealed is there as it was; False where nothing was sealed. Raises OSError."""
    try:
        listed = json.loads((folder / LIST).read_text())
        return bool(listed) and all(_is_as_it_was(folder / name, *entry) for name, entry in listed.items())
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return False


def _is_as_it_was(file: Path, size: int, mtime_ns: int, sha256: str) -> bool:
    found = file.stat()
    if found.st_size != size:
        return False
    return found.st_mtime_ns == mtime_ns or _remembered(str(file), found.st_ino, found.st_ctime_ns) == sha256


@lru_cache(maxsize=64)
def _remembered(file: str, inode: int, ctime_ns: int) -> str:
    """`ctime_ns` cannot be set back: it stands for the state of the file."""
    return _sha256(Path(file))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
