"""Classes and their answers in one SQLite file.

Of a visitor nothing is kept but a hash, which is salted anew for each class: it tells two visitors of a class apart and
says nothing else, not even whether both came to another class too. No times, no addresses, no names, no free text.
"""

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import BadInput, Unavailable
from quantlab.runtime.database import Database, Schema, used_bytes
from quantlab.teach.classroom.asked import Answer, Catalog
from quantlab.teach.classroom.board import Board, board_of

#: Letters and digits that nobody takes for another one: no 0 O, 1 I L, 2 Z, 5 S, 8 B.
ALPHABET = "34679ACDEFGHJKMNPQRTUVWXY"
LENGTH = 6
#: What is longer is not repeated to whoever typed it.
_LONGEST_SHOWN = 20
_FORM = f"{LENGTH} letters and digits"
_LONGEST_VISITOR = 200
_SALT_BYTES = 16
#: Of its limit of bytes a file that passed it keeps so much.
_ROOM = 0.9
SCHEMA = Schema(
    "classroom",
    "QUANTLAB_CLASSROOM_FILE",
    0x716C636C,  # "qlcl"
    (
        (
            # `used` counts up, so that the classes that were used last are known without a time.
            """CREATE TABLE classes (
                code TEXT PRIMARY KEY,
                salt BLOB NOT NULL,
                used INTEGER NOT NULL,
                answers INTEGER NOT NULL DEFAULT 0
            ) WITHOUT ROWID""",
            "CREATE INDEX classes_by_use ON classes (answers > 0, used)",
            """CREATE TABLE answers (
                code TEXT NOT NULL REFERENCES classes ON DELETE CASCADE,
                question TEXT NOT NULL,
                visitor BLOB NOT NULL,
                value NOT NULL,
                PRIMARY KEY (code, question, visitor)
            ) WITHOUT ROWID""",
            "CREATE TABLE visitors (code TEXT NOT NULL REFERENCES classes ON DELETE CASCADE, visitor BLOB NOT NULL, "
            "PRIMARY KEY (code, visitor)) WITHOUT ROWID",
        ),
    ),
    busy_s=5.0,
    durable=False,  # thirty votes at once, each of which would wait for the disk after those before
)


@dataclass(frozen=True)
class Limits:
    """The most classes, the most visitors of one, and the most bytes of the file."""

    classes: int = 500
    visitors: int = 200
    nbytes: int = 50_000_000


class Classroom:
    """The classes in a file. Any thread may call it, and several processes may share the file.

    Everything raises Unavailable where the file cannot be used (locked by others, no rights, a full disk, damage),
    BadInput where it is of a newer version. A damaged file is set aside and told once; the next call begins a new one.
    `warning` says so where that happened when this object was made.
    """

    def __init__(self, file: Path, asked: Catalog, limits: Limits | None = None) -> None:
        self._database = Database(file, SCHEMA)
        self._asked = asked
        self._limits = limits or Limits()
        # In turn, and not by SQLite's waiting, which is no queue: with 30 at once some would wait long.
        self._writing = threading.Lock()
        self.warning = ""
        try:
            self._look()
        except Unavailable as error:
            self.warning = str(error)
            self._look()

    def _look(self) -> None:
        with self._database.reading() as connection:
            connection.execute("SELECT count(*) FROM classes").fetchone()

    def open(self) -> str:
        """A new class; its code. Where there are too many, those without answers go first, the oldest of them."""
        with self._changing() as connection:
            self._make_room(connection)
            while True:
                code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
                taken = connection.execute("SELECT 1 FROM classes WHERE code = ?", (code,)).fetchone()
                if not taken:
                    row = (code, secrets.token_bytes(_SALT_BYTES), _next_use(connection))
                    connection.execute("INSERT INTO classes (code, salt, used) VALUES (?, ?, ?)", row)
                    return code

    def exists(self, code: str) -> bool:
        """Whether there is a class of that code, however it is typed."""
        try:
            self.found(code)
        except BadInput:
            return False
        return True

    def found(self, code: str) -> str:
        """The code of a class as it was given out. Raises BadInput where there is none."""
        with self._database.reading() as connection:
            return _class_of(connection, code)["code"]

    def answer(self, code: str, question: str, visitor: str, value: object) -> bool:
        """Keep a visitor's answer to a question; False, and nothing is changed, where there is one already.

        Raises BadInput for a code or a question that is not there, for a value that the question does not take, and
        where the class is full.
        """
        kept = self._asked[question].taken(value)
        if not isinstance(visitor, str) or not 0 < len(visitor) <= _LONGEST_VISITOR:
            raise BadInput("This browser has not said which visitor it is.", "Load the page again.")
        with self._changing() as connection:
            found = _class_of(connection, code)
            hashed = _hashed(visitor, found["salt"])
            self._admit(connection, found["code"], hashed)
            row = (found["code"], question, hashed, kept)
            new = connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row).rowcount
            if new:
                use = (_next_use(connection), found["code"])
                connection.execute("UPDATE classes SET used = ?, answers = answers + 1 WHERE code = ?", use)
        return bool(new)

    def counted(self, code: str, question: str, visitor: str) -> Answer | None:
        """The answer of a visitor that a class has, None where it has none. Raises BadInput for no class."""
        with self._database.reading() as connection:
            found = _class_of(connection, code)
            row = connection.execute(
                "SELECT value FROM answers WHERE code = ? AND question = ? AND visitor = ?",
                (found["code"], question, _hashed(visitor, found["salt"])),
            ).fetchone()
        return None if row is None else row["value"]

    def answers(self, code: str, question: str) -> tuple[Answer, ...]:
        """All answers of a class to one question, in no order that says who gave them. Raises BadInput for no class."""
        with self._database.reading() as connection:
            found = _class_of(connection, code)["code"]
            rows = connection.execute(
                "SELECT value FROM answers WHERE code = ? AND question = ? ORDER BY value", (found, question)
            )
            return tuple(row["value"] for row in rows)

    def board(self, code: str) -> Board:
        """What a class answered, question by question and precision by precision. Raises BadInput for no class."""
        with self._database.reading() as connection:
            found = _class_of(connection, code)["code"]
            rows = connection.execute(
                "SELECT question, value, count(*) AS times FROM answers WHERE code = ? GROUP BY question, value",
                (found,),
            ).fetchall()
            (visitors,) = connection.execute("SELECT count(*) FROM visitors WHERE code = ?", (found,)).fetchone()
        given: dict[str, dict[Answer, int]] = {}
        for row in rows:
            given.setdefault(row["question"], {})[row["value"]] = row["times"]
        return board_of(found, visitors, given, self._asked)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            with self._database.writing() as connection:
                yield connection
            self._database.hold()

    def _admit(self, connection: sqlite3.Connection, code: str, visitor: bytes) -> None:
        if connection.execute("SELECT 1 FROM visitors WHERE code = ? AND visitor = ?", (code, visitor)).fetchone():
            return
        (count,) = connection.execute("SELECT count(*) FROM visitors WHERE code = ?", (code,)).fetchone()
        if count >= self._limits.visitors:
            raise BadInput(
                f"This class has its {self._limits.visitors:,} visitors already.", "Ask the teacher for another code."
            )
        if used_bytes(connection) > self._limits.nbytes:
            _drop_oldest(connection, round(self._limits.nbytes * _ROOM), but=code)
        connection.execute("INSERT INTO visitors VALUES (?, ?)", (code, visitor))

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """So that one more class fits: those without answers go before those with some, and the oldest first."""
        (count,) = connection.execute("SELECT count(*) FROM classes").fetchone()
        if (more := count + 1 - self._limits.classes) > 0:
            connection.execute(
                "DELETE FROM classes WHERE code IN (SELECT code FROM classes ORDER BY answers > 0, used LIMIT ?)",
                (more,),
            )
        if used_bytes(connection) > self._limits.nbytes:
            _drop_oldest(connection, round(self._limits.nbytes * _ROOM))


def _class_of(connection: sqlite3.Connection, typed: object) -> sqlite3.Row:
    """The class that is meant by what somebody typed: small letters, spaces and hyphens are forgiven."""
    code = _read_code(typed)
    row = connection.execute("SELECT * FROM classes WHERE code = ?", (code,)).fetchone()
    if row is None:
        raise BadInput(
            f"There is no class {code}.",
            "Compare each letter with your teacher's code. If all agree, the class has ended: those that were unused "
            "for longest are removed, and then the teacher opens a new one.",
        )
    return row


def _read_code(typed: object) -> str:
    """What was typed, as codes are written. Raises BadInput, which says what is wrong with it, for what can be none."""
    text = typed if isinstance(typed, str) else ""
    code = "".join(text.split()).replace("-", "").upper()
    if not code:
        raise BadInput("No class code was typed.", f"Type the one that was given for the class: {_FORM}.")
    shown = code if len(code) <= _LONGEST_SHOWN and code.isprintable() else "What was typed"
    if len(code) != LENGTH:
        raise BadInput(f"{shown} is no class code: it is {len(code):,} long, not {LENGTH}.", f"A code has {_FORM}.")
    if strange := dict.fromkeys(it for it in code if it not in ALPHABET):
        listed = " ".join(it for it in strange if it.isprintable()) or "one of its characters"
        raise BadInput(
            f"{shown} is no class code: no code has {listed}.",
            f"A code has {_FORM}, without those that look alike: 0 O, 1 I L, 2 Z, 5 S, 8 B.",
        )
    return code


def _hashed(visitor: str, salt: bytes) -> bytes:
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), key=salt, digest_size=16).digest()


def _next_use(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(used), 0) + 1 FROM classes").fetchone()[0])


def _drop_oldest(connection: sqlite3.Connection, nbytes: int, but: str = "") -> None:
    """Remove classes, the longest unused first, until the file holds no more than `nbytes`."""
    for row in connection.execute("SELECT code FROM classes WHERE code != ? ORDER BY used", (but,)).fetchall():
        if used_bytes(connection) <= nbytes:
            return
        connection.execute("DELETE FROM classes WHERE code = ?", (row["code"],))
