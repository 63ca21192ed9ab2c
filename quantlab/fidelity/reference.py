"""The reference's log-probabilities of a text, kept on disk, so that another variant is measured by running it alone.

float32, because float16 flushes small probabilities to zero. A file is written aside and renamed when it is whole;
the least recently used ones go when all together exceed the limit.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import write_array_header_1_0

from quantlab.errors import BadInput, Unavailable
from quantlab.runtime.least_recent import Item, items, shrink, touch
from quantlab.settings import app_settings

if TYPE_CHECKING:
    import torch

#: Whoever writes a file aside holds its lock, which the system gives back in whatever way the process ends.
_SUFFIX, _ASIDE, _LOCK = ".npy", ".part", ".lock"


@dataclass(frozen=True)
class Rows:
    """Log-probabilities `[tokens, vocabulary]` in a file, whose numbers begin at byte `offset`.

    Read, not mapped: pages of a map count as this process's memory.
    """

    file: Path
    tokens: int
    vocabulary: int
    offset: int

    def block(self, first: int, count: int) -> "torch.Tensor":
        """`count` rows from `first` on, in memory."""
        import torch

        with self.file.open("rb") as opened:
            opened.seek(self.offset + 4 * first * self.vocabulary)
            found = np.fromfile(opened, np.float32, count * self.vocabulary)
        return torch.from_numpy(found.reshape(count, self.vocabulary))


@dataclass(frozen=True)
class ScoreStore:
    """The tables below `root`, which together take at most `limit` bytes."""

    root: Path
    limit: int

    def find(self, key: str) -> Rows | None:
        """The whole table of that key, else None."""
        file = self.root / f"{key}{_SUFFIX}"
        try:
            table = np.load(file, mmap_mode="r", allow_pickle=False)
            touch(file, self.root.glob(f"*{_SUFFIX}"))
        except (OSError, ValueError, EOFError):  # not there, or damaged: it is made again
            return None
        tokens, vocabulary = table.shape
        return Rows(file, tokens, vocabulary, table.offset)

    def nbytes(self) -> int:
        """What all tables take."""
        return sum(it.nbytes for it in self._whole())

    def clear(self) -> None:
        """Remove all tables; one that is being written stays."""
        for file in self.root.glob(f"*{_SUFFIX}"):
            file.unlink(missing_ok=True)

    def check(self, tokens: int, vocabulary: int) -> None:
        """Raises BadInput for a table above the limit."""
        needed = tokens * vocabulary * 4
        if needed > self.limit:
            raise BadInput(
                f"The reference's log-probabilities of {tokens:,} tokens take {needed / 1e9:.1f} GB, and at most "
                f"{self.limit / 1e9:.1f} GB are kept.",
                "Read fewer windows, or raise QUANTLAB_CACHE_BYTES.",
            )

    @contextmanager
    def writing(self, key: str, tokens: int, vocabulary: int) -> "Iterator[Writer]":
        """A table to be filled from the top; it is found under `key` when the block ends well.

        Raises BadInput for a table above the limit, Unavailable where it does not fit on the disk.
        """
        self.check(tokens, vocabulary)
        aside = self.root / f"{key}.{uuid4().hex}{_ASIDE}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._clean()
            with _lock_of(aside), aside.open("wb") as opened:
                writer = Writer(opened, tokens, vocabulary)
                yield writer
                writer.finish()
                aside.rename(self.root / f"{key}{_SUFFIX}")
        except OSError as error:
            raise _no_room(self.root, tokens * vocabulary * 4, error) from error
        finally:
            for left in (aside, aside.with_suffix(_LOCK)):
                with suppress(OSError):
                    left.unlink()
        shrink(self._whole(), self.limit, f"{key}{_SUFFIX}", self._remove)

    def _clean(self) -> None:
        """Remove what killed processes left behind: what is written by a living one stays, because its lock is held."""
        for left in self.root.glob(f"*{_ASIDE}"):
            with suppress(Timeout, OSError), _lock_of(left).acquire(timeout=0):
                left.unlink(missing_ok=True)
                left.with_suffix(_LOCK).unlink(missing_ok=True)

    def _whole(self) -> Iterator[Item]:
        return items(self.root.glob(f"*{_SUFFIX}"))

    def _remove(self, name: str) -> bool:
        (self.root / name).unlink(missing_ok=True)
        return True


def score_store() -> ScoreStore:
    """The kept tables of this user, beside the checkpoints, with a limit of their own of the same size."""
    app = app_settings()
    return ScoreStore(app.cache_folder.expanduser().absolute() / ".scores", app.cache_bytes)


class Writer:
    """Fills a table from the top."""

    def __init__(self, file: BinaryIO, tokens: int, vocabulary: int) -> None:
        self._file, self._left = file, tokens
        header = {"descr": "<f4", "fortran_order": False, "shape": (tokens, vocabulary)}
        write_array_header_1_0(file, header)

    def append(self, scores: "torch.Tensor") -> None:
        """Add float32 rows `[tokens, vocabulary]`."""
        self._file.write(memoryview(scores.cpu().contiguous().numpy()))
        self._left -= len(scores)

    def finish(self) -> None:
        """Write out what is still in memory. Raises RuntimeError where rows are missing."""
        if self._left:
            raise RuntimeError(f"{self._left} rows were not written")
        self._file.flush()
        os.fsync(self._file.fileno())


def _no_room(root: Path, nbytes: int, error: OSError) -> Unavailable:
    return Unavailable(
        f"The reference's {nbytes / 1e6:,.0f} MB of log-probabilities cannot be kept in {root}: {error.strerror}.",
        "Free some space, read fewer windows, or set QUANTLAB_CACHE_FOLDER to another disk.",
    )


def _lock_of(aside: Path) -> FileLock:
    return FileLock(aside.with_suffix(_LOCK))
