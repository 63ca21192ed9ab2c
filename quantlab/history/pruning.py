"""What goes from a history that has grown: the old, the many, the large. What is being worked on never goes."""

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from quantlab.errors import QuantlabError, Unavailable
from quantlab.history import entries
from quantlab.history.entries import Entry
from quantlab.runtime.database import Database

#: An entry's own bytes. SQLite keeps ours as ASCII, so that characters are bytes.
_SIZES = """
SELECT id, started, state, length(asked) + length(head) + length(haystack)
 + (SELECT coalesce(sum(length(data)), 0) FROM runs WHERE entry = entries.id) AS nbytes
FROM entries ORDER BY started DESC, id DESC
"""


@dataclass(frozen=True)
class Limits:
    """What may stay: entries begun after `since`, the newest `entries`, the newest ones that take `nbytes` together.

    None sets no limit.
    """

    since: datetime | None = None
    entries: int | None = None
    nbytes: int | None = None


@dataclass(frozen=True)
class Pruned:
    """How many entries went, or would go, and the bytes of the file that they take; those that can be read, the newest
    first."""

    count: int
    nbytes: int
    entries: tuple[Entry, ...]


def prune(database: Database, limits: Limits, dry_run: bool = False) -> Pruned:
    """Remove every entry that is beyond one of the limits, but those that somebody is at work on.

    Raises Unavailable where the file cannot be used.
    """
    with database.reading() if dry_run else database.writing() as connection:
        going = _going(connection, limits)
        found = []
        for entry in going:
            with suppress(ValueError, QuantlabError):  # a damaged one goes like the others
                found.append(entries.entry_of(connection, entries.row_of(connection, entry)))
        if not dry_run:
            connection.executemany("DELETE FROM entries WHERE id = ?", ((entry,) for entry in going))
    return Pruned(len(going), sum(going.values()), tuple(found))


def compact(database: Database) -> None:
    """Give the room of what was removed back to the disk.

    Raises Unavailable where that cannot be done now: another process is at work, or the disk has no room for a copy.
    """
    try:
        with database.reading() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except Unavailable as error:
        raise Unavailable(
            f"What was to go is gone, but the file could not be made smaller: {error.what}",
            "Run quantlab history prune again when nobody is at work on it and the disk has room.",
        ) from error


def _going(connection: sqlite3.Connection, limits: Limits) -> dict[int, int]:
    """Id and bytes of each entry that is beyond a limit, the newest first."""
    going: dict[int, int] = {}
    kept = total = 0
    since = limits.since.astimezone(UTC).isoformat(timespec="microseconds") if limits.since else ""
    for entry, started, state, nbytes in connection.execute(_SIZES).fetchall():
        full = limits.entries is not None and kept >= limits.entries
        large = limits.nbytes is not None and total + nbytes > limits.nbytes
        if state != "running" and (full or large or started < since):
            going[entry] = nbytes
            continue
        kept, total = kept + 1, total + nbytes
    return going
