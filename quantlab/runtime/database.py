"""A SQLite file of our own: a connection for each piece of work, tables brought up to date, errors a user can act on.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from quantlab.errors import BadInput, Unavailable

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


@dataclass(frozen=True)
class Schema:
    """What a file holds, and how an older one becomes one of today.

    `name` is what a user calls it, `setting` the variable that says where it lies. `application_id` tells it from
    another program's database. `migrations[n]` leads from version n to n + 1, version 0 is an empty file; a step is
    never changed once released: what a file of that age needs stands in a new one. `busy_s` is how long to wait for
    another process's transaction, in seconds; ours take milliseconds. `durable`: what is finished is on the disk when
    it is said to be, also if the machine goes down; without it the last seconds may be lost then, and never the file.
    """

    name: str
    setting: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]
    busy_s: float = 30.0
    durable: bool = True

    @property
    def version(self) -> int:
        return len(self.migrations)

    def prepare(self, connection: sqlite3.Connection, file: str) -> None:
        """Bring the tables up to `version`, in one transaction.

        Raises BadInput for a newer version and for another program's database.
        """
        if _version(connection) == self.version and self._is_ours(connection):
            return
        if _version(connection) <= self.version and not _has_tables(connection):
            # Written into the file once; it cannot change in a transaction. Readers then never wait for a writer.
            with suppress(sqlite3.OperationalError):  # another process is at it, or the file system cannot have it
                connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._migrate(connection, file)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _migrate(self, connection: sqlite3.Connection, file: str) -> None:
        found = _version(connection)
        if not self._is_ours(connection) and (_has_tables(connection) or found):
            raise BadInput(
                f"{file} is a database of another program.", f"Set {self.setting} to a file of quantlab's own."
            )
        if found > self.version:
            raise BadInput(
                f"The {self.name} in {file} has version {found}; this quantlab knows versions up to {self.version}.",
                f"Update quantlab, or set {self.setting} to another file.",  # noqa: S608 - a sentence
            )
        for step in self.migrations[found:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute(f"PRAGMA user_version = {self.version}")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        return connection.execute("PRAGMA application_id").fetchone()[0] == self.application_id


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0


def used_bytes(connection: sqlite3.Connection) -> int:
    """What a file holds without the room of what was removed, in bytes."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


class Database:
    """One SQLite file. Any thread may use it: each piece of work has its own connection."""

    def __init__(self, file: Path, schema: Schema) -> None:
        self.file = file
        self._schema = schema
        self._held: tuple[sqlite3.Connection, int] | None = None
        self._holding = threading.Lock()
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
            connection = sqlite3.connect(self.file, timeout=self._schema.busy_s, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                self._schema.prepare(connection, str(self.file))
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA synchronous = {'FULL' if self._schema.durable else 'NORMAL'}")
                # What was deleted is gone, not merely out of sight.
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
            finally:
                connection.close()

    def hold(self) -> None:
        """Keep a connection open that does nothing, to the file that lies there now. It only saves time.

        Whoever closes the last one moves all that was written from SQLite's log into the file and waits for the disk:
        without it each of many small pieces of work would.
        """
        # Where it cannot be had, the next piece of work says why.
        with self._holding, suppress(OSError, sqlite3.Error):
            there = self.file.stat().st_ino
            if self._held is not None and self._held[1] == there:
                return
            self._let_go()
            connection = sqlite3.connect(self.file, timeout=self._schema.busy_s, check_same_thread=False)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # this opens the file
            self._held = connection, there

    def _let_go(self) -> None:
        if self._held is not None:
            self._held[0].close()
            self._held = None

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

    def used_bytes(self) -> int:
        """What the file holds without the room of what was removed, in bytes."""
        with self.reading() as connection:
            return used_bytes(connection)

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
            f"The {self._schema.name} in {self.file} cannot be written: the disk is full.",
            f"Free some space, or set {self._schema.setting} to another disk. What was kept before is there.",
        )

    def _unusable(self, why: str) -> Unavailable:
        return Unavailable(
            f"The {self._schema.name} in {self.file} cannot be used: {why}.",
            f"Check the rights of the file and its folder, or set {self._schema.setting} to another place.",
        )

    def _damaged(self, why: str) -> Unavailable:
        aside = self._set_aside()
        if aside is None:
            return Unavailable(
                f"The {self._schema.name} in {self.file} was damaged ({why}).", "Try again; else move the file away."
            )
        return Unavailable(
            f"The {self._schema.name} in {self.file} is damaged ({why}). "
            f"It was set aside as {aside.name}; a new one begins.",
            f"`sqlite3 {aside} .recover` may bring back what is in it.",
        )

    def _set_aside(self) -> Path | None:
        """Rename the file, and what lies beside it; None where that is done already."""
        with self._holding:
            self._let_go()
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
            connection = sqlite3.connect(
                f"{self.file.absolute().as_uri()}?mode=rw", uri=True, timeout=self._schema.busy_s
            )
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
