"""The file of the history: a connection for each piece of work, and errors a user can act on.

What cannot be read as a database is set aside under another name, never deleted.
"""

import errno
import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from quantlab.errors import Unavailable
from quantlab.history import schema

# How long to wait for another process's transaction; ours take milliseconds.
_BUSY_S = 30.0
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_UNUSABLE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
)
# Less than this is no room: what SQLite writes beside the file begins with 32 kB.
_NO_ROOM = 1 << 16
# Beside the file itself there are these while it is in use.
_COMPANIONS = ("-wal", "-shm")


class Database:
    """One SQLite file. Any thread may use it: each piece of work has its own connection."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._set_aside_once = threading.Lock()
        with self._translate_errors():
            file.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from, whose rows are named.

        Raises Unavailable where the file cannot be used, BadInput where it is newer than this quantlab or another
        program's. Damage is told once, as Unavailable, after the file was set aside; the next call begins a new one.
        """
        with self._translate_errors():
            connection = sqlite3.connect(self.file, timeout=_BUSY_S, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                schema.prepare(connection, str(self.file))
                connection.execute("PRAGMA foreign_keys = ON")
                # What is finished is on the disk when it is said to be, also if the machine goes down.
                connection.execute("PRAGMA synchronous = FULL")
                # A prompt that was deleted is gone, not merely out of sight.
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
            finally:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction of its own: committed at the end, undone by any error."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Errors of the file or the disk as ours. A wrong statement is a defect and stays loud."""
        try:
            yield
        except OSError as error:
            raise self.unusable(error) from error
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte; the others say more about it
            if code in _DAMAGED:
                raise self._damaged(str(error)) from error
            # The files beside it grow too, and where they cannot SQLite calls it an error of reading or opening.
            full = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self._is_full()
            if code == sqlite3.SQLITE_FULL or full:
                raise self._full() from error
            if code in _UNUSABLE:
                raise self._unusable(str(error)) from error
            raise

    def unusable(self, error: OSError) -> Unavailable:
        """What an error of the system beside the file means for a user: a lock, a folder, a copy."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._full()
        return self._unusable(error.strerror or str(error))

    def _is_full(self) -> bool:
        try:
            return shutil.disk_usage(self.file.parent).free < _NO_ROOM
        except OSError:
            return False

    def _full(self) -> Unavailable:
        return Unavailable(
            f"The history in {self.file} cannot be written: the disk is full.",
            "Free some space, or set QUANTLAB_HISTORY_FILE to another disk. What was kept before is there.",
        )

    def _unusable(self, why: str) -> Unavailable:
        return Unavailable(
            f"The history in {self.file} cannot be used: {why}.",
            "Check the rights of the file and its folder, or set QUANTLAB_HISTORY_FILE to another place.",
        )

    def _damaged(self, why: str) -> Unavailable:
        aside = self._set_aside()
        if aside is None:
            return Unavailable(
                f"The history in {self.file} was damaged ({why}).", "Try again; else move the file away."
            )
        return Unavailable(
            f"The history in {self.file} is damaged ({why}). It was set aside as {aside.name}; a new one begins.",
            f"`sqlite3 {aside} .recover` may bring back what is in it.",
        )

    def _set_aside(self) -> Path | None:
        """Rename the file, and what lies beside it; None where that is done already."""
        with self._set_aside_once:
            aside = self._free_name()
            try:
                # Of two processes that met the damage, one finds the file, and one a new one that is whole.
                if not self._is_damaged():
                    return None
                # These first: beside a new file they would be taken for its own.
                for ending in _COMPANIONS:
                    with suppress(FileNotFoundError):
                        os.rename(f"{self.file}{ending}", f"{aside}{ending}")
                os.rename(self.file, aside)
            except OSError:
                return None
            return aside

    def _is_damaged(self) -> bool:
        with suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)
            try:
                return connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
            except sqlite3.DatabaseError as error:
                return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
            finally:
                connection.close()
        return False

    def _free_name(self) -> Path:
        stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        names = (self.file.with_name(f"{self.file.name}.damaged-{stamp}-{i}") for i in itertools.count(1))
        return next(name for name in names if not name.exists())
