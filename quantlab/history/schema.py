"""The tables of the history, and how an older file becomes one of today.

A step is never changed once released: what a file of that age needs stands in a new one.
"""

import sqlite3
from contextlib import suppress

from quantlab.errors import BadInput

#: "qlab": tells a history from another program's database.
APPLICATION_ID = 0x716C6162

#: `MIGRATIONS[n]` leads from version n to n + 1. Version 0 is an empty file.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `head` is the record without its runs, `asked` what leads to it again, `owner` names the lock of the process
        # at work, `replay_key` all that changes the answer; `haystack` is what a search looks through.
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            model TEXT NOT NULL,
            title TEXT NOT NULL,
            precisions TEXT NOT NULL,
            started TEXT NOT NULL,
            ended TEXT,
            asked TEXT NOT NULL,
            head TEXT NOT NULL,
            haystack TEXT NOT NULL,
            owner TEXT,
            replay_key TEXT
        )""",
        """CREATE TABLE runs (
            entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
            precision TEXT NOT NULL,
            position INTEGER NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (entry, precision)
        )""",
        "CREATE INDEX entries_by_state ON entries (state)",
        "CREATE INDEX entries_by_key ON entries (replay_key) WHERE replay_key IS NOT NULL",
    ),
    (
        # How each run ended, so that a list of entries reads no run's JSON.
        "ALTER TABLE runs ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done'",
        """UPDATE runs SET outcome = CASE
            WHEN NOT json_valid(data) THEN 'damaged'
            WHEN json_extract(data, '$.stopped') THEN 'stopped'
            WHEN json_extract(data, '$.error') IS NOT NULL THEN 'failed'
            ELSE 'done' END""",
    ),
)
VERSION = len(MIGRATIONS)


def prepare(connection: sqlite3.Connection, file: str) -> None:
    """Bring the tables up to `VERSION`, in one transaction.

    Raises BadInput for a newer version and for another program's database.
    """
    if _version(connection) == VERSION and _is_ours(connection):
        return
    if _version(connection) <= VERSION and not _has_tables(connection):
        # Written into the file once; it cannot change in a transaction. Readers then never wait for a writer.
        with suppress(sqlite3.OperationalError):  # another process is at it, or the file system cannot have it
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrate(connection, file)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, file: str) -> None:
    found = _version(connection)
    if not _is_ours(connection) and (_has_tables(connection) or found):
        raise BadInput(
            f"{file} is a database of another program.", "Set QUANTLAB_HISTORY_FILE to a file of quantlab's own."
        )
    if found > VERSION:
        raise BadInput(
            f"The history in {file} has version {found}; this quantlab knows versions up to {VERSION}.",
            "Update quantlab, or set QUANTLAB_HISTORY_FILE to another file.",
        )
    for step in MIGRATIONS[found:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _is_ours(connection: sqlite3.Connection) -> bool:
    return connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
