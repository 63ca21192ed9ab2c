"""Every comparison and quality run, kept in one file: found again, opened, resumed, replayed.

A run is committed when it is finished, in a transaction of its own: whatever ends the process, it is there afterwards.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput, Unavailable
from quantlab.export import quality_run_from, record_from, run_from
from quantlab.history import entries, pruning, schema
from quantlab.history.entries import Entry, Kind
from quantlab.history.owners import owners
from quantlab.history.pruning import Limits, Pruned
from quantlab.records import Comparison, Quality, QualityRun, Run
from quantlab.runtime.database import Database

_LOG = logging.getLogger(__name__)
#: Of its limit a history that passed it keeps so much.
_ROOM = 0.9
# More words than anybody types would exceed what a statement may hold.
_WORDS = 50


@dataclass(frozen=True)
class Resumed:
    """What leads on to the end: what was asked for, and the runs that are complete already."""

    asked: dict[str, Any]
    done: tuple[Run | QualityRun, ...]


class History:
    """The history in a file. Any thread may call it.

    `warning` is set where the file was damaged and set aside when this object was made. Everything raises Unavailable
    where the file cannot be used (no rights, a full disk, damage), BadInput where it is of a newer version. An entry
    that is not there, because it was deleted meanwhile, is BadInput. `limit` are the bytes that entries may take:
    before a new one is begun the oldest go.
    """

    def __init__(self, file: Path, limit: int | None = None) -> None:
        self._limit = limit
        self._database = Database(file, schema.SCHEMA)
        self._owners = owners(file.absolute().with_name(f"{file.name}.running"))
        self.warning = ""
        try:
            self._look()
        except Unavailable as error:
            self.warning = str(error)
            self._look()  # into the new one; where the trouble stays, it is raised

    @property
    def file(self) -> Path:
        return self._database.file

    def begin(
        self, draft: Comparison | Quality, asked: dict[str, Any], precisions: Sequence[str], key: str | None = None
    ) -> int:
        """A new entry for work that begins now; its id.

        `draft` is the record without runs. `asked` is whatever leads to it again, in JSON's types. `precisions` are
        those to come. `key` holds all that changes the answer, where it may be replayed.
        """
        row = entries.head(draft, precisions) | {
            "state": "running",
            # In one time zone and one length, so that the texts sort by time.
            "started": draft.started.astimezone(UTC).isoformat(timespec="microseconds"),
            "owner": self._owner(),
            "asked": json.dumps(asked, allow_nan=False),
            "replay_key": key,
        }
        self._keep_limit()
        with self._database.writing() as connection:
            names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", row)  # noqa: S608 - names of our own columns
            return int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])

    def add_run(self, entry: int, run: Run | QualityRun) -> None:
        """Keep a finished run, in place of an earlier one of the same precision."""
        with self._database.writing() as connection:
            entries.row_of(connection, entry)
            entries.write_run(connection, entry, run)

    def refer(self, entry: int, reference: str) -> None:
        """Say that an entry's runs are compared with another reference than at its beginning."""
        with self._database.writing() as connection:
            head = entries.read(entries.row_of(connection, entry)["head"]) | {"reference": reference}
            connection.execute("UPDATE entries SET head = ? WHERE id = ?", (json.dumps(head, allow_nan=False), entry))

    def finish(self, entry: int, record: Comparison | Quality) -> None:
        """Keep the whole record, which ends the entry. Only one that is complete and without errors is replayed."""
        stopped = any(run.stopped for run in record.runs)
        clean = not stopped and not any(run.error for run in record.runs)
        row = entries.head(record, [run.precision for run in record.runs]) | {
            "state": "stopped" if stopped else "done",
            "ended": _now(),
            "clean": clean,
            "id": entry,
        }
        changes = ", ".join(f"{name} = :{name}" for name in row if name not in ("clean", "id"))
        with self._database.writing() as connection:
            entries.row_of(connection, entry)
            connection.execute(
                f"UPDATE entries SET {changes}, owner = NULL,"  # noqa: S608 - the same
                " replay_key = CASE WHEN :clean THEN replay_key END WHERE id = :id",
                row,
            )
            connection.execute("DELETE FROM runs WHERE entry = ?", (entry,))
            for run in record.runs:
                entries.write_run(connection, entry, run)

    def keep(self, record: Comparison | Quality, asked: dict[str, Any] | None = None) -> int:
        """An entry for a record that is complete already, such as an imported one; its id."""
        entry = self.begin(record, asked or {}, [run.precision for run in record.runs])
        self.finish(entry, record)
        return entry

    def interrupt(self, entry: int) -> None:
        """Say that the work on an entry ended early. Nothing happens where it has an end already, or is not there."""
        self._interrupt(entry, None)

    def mark_interrupted(self) -> int:
        """Mark what processes left behind that are gone, however they went; how many entries. For every start."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, owner FROM entries WHERE state = 'running'").fetchall()
        alive = {owner for owner in {row["owner"] for row in rows} if owner and self._owners.alive(owner)}
        gone = [row for row in rows if row["owner"] not in alive]
        self._owners.sweep()
        return sum(self._interrupt(row["id"], row["owner"]) for row in gone)

    def entries(
        self, search: str = "", kind: Kind | None = None, limit: int = 200, offset: int = 0
    ) -> tuple[Entry, ...]:
        """The newest first. Every word of `search` is somewhere in the model, the prompt or text, or a precision."""
        values: dict[str, Any] = {
            f"word{i}": word for i, word in enumerate(entries.searchable(search).split()[:_WORDS])
        }
        conditions = [f"instr(haystack, :{name}) > 0" for name in values]
        if kind is not None:
            conditions.append("kind = :kind")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values |= {"kind": kind, "limit": limit, "offset": offset}
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {entries.COLUMNS} FROM entries {where}"  # noqa: S608 - the same
                " ORDER BY started DESC, id DESC LIMIT :limit OFFSET :offset",
                values,
            ).fetchall()
            return tuple(filter(None, (_listed(connection, row) for row in rows)))

    def entry(self, entry: int) -> Entry:
        """One line."""
        with self._database.reading() as connection:
            return entries.entry_of(connection, entries.row_of(connection, entry))

    def get(self, entry: int) -> Comparison | Quality:
        """The record with the runs that are finished, all of them or not."""
        with self._database.reading() as connection:
            head = entries.read(entries.row_of(connection, entry)["head"])
            return record_from(head | {"runs": entries.runs_of(connection, entry)})

    def asked(self, entry: int) -> dict[str, Any]:
        """What was given to `begin`."""
        with self._database.reading() as connection:
            return entries.read(entries.row_of(connection, entry)["asked"])

    def resume(self, entry: int) -> Resumed:
        """Take over an entry that did not come to its end, to go on with it and `finish` it.

        Raises BadInput where it has come to its end, or somebody is at work on it.
        """
        owner = self._owner()
        with self._database.writing() as connection:
            row = entries.row_of(connection, entry)
            if row["state"] == "running":
                raise BadInput("This is still being worked on.", "Wait for its end.")
            if row["state"] == "done":
                raise BadInput("This is complete already.", "Open it, or begin a new one.")
            connection.execute(
                "UPDATE entries SET state = 'running', owner = ?, ended = NULL WHERE id = ?", (owner, entry)
            )
            read = run_from if row["kind"] == "comparison" else quality_run_from
            runs = [read(data, f"runs[{i}]") for i, data in enumerate(entries.runs_of(connection, entry))]
        return Resumed(entries.read(row["asked"]), tuple(run for run in runs if not run.error and not run.stopped))

    def find(self, key: str) -> Entry | None:
        """The newest complete entry of that key, for a replay."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT {entries.COLUMNS} FROM entries"  # noqa: S608 - the same
                " WHERE replay_key = ? AND state = 'done' ORDER BY id DESC LIMIT 1",
                (key,),
            ).fetchone()
            return row and entries.entry_of(connection, row)

    def delete(self, entry: int) -> None:
        """Remove an entry and its runs for good. Nothing happens where it is not there."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM entries WHERE id = ?", (entry,))

    def prune(self, limits: Limits, dry_run: bool = False) -> Pruned:
        """Remove what is beyond the limits, and give its room back to the disk; with `dry_run` only say what would go.

        Raises Unavailable where the room cannot be given back now; what was to go is gone then.
        """
        found = pruning.prune(self._database, limits, dry_run)
        if not dry_run:
            pruning.compact(self._database)
        return found

    def used_bytes(self) -> int:
        """What the entries take of the file."""
        return self._database.used_bytes()

    @property
    def limit(self) -> int | None:
        return self._limit

    def _keep_limit(self) -> None:
        """Remove the oldest where the limit is passed, somewhat below it, so that not every run has to."""
        if self._limit is None or self.used_bytes() <= self._limit:
            return
        gone = pruning.prune(self._database, Limits(nbytes=int(self._limit * _ROOM)))
        _LOG.warning("the history passed its limit: its %d oldest entries were removed", gone.count)

    def _look(self) -> None:
        with self._database.reading() as connection:
            connection.execute("SELECT count(*) FROM entries").fetchone()

    def _owner(self) -> str:
        try:
            return self._owners.mine()
        except OSError as error:
            raise self._database.unusable(error) from error

    def _interrupt(self, entry: int, owner: str | None) -> int:
        with self._database.writing() as connection:
            return connection.execute(
                "UPDATE entries SET state = 'interrupted', ended = :now, owner = NULL"
                " WHERE id = :id AND state = 'running' AND (:owner IS NULL OR owner = :owner)",
                {"now": _now(), "id": entry, "owner": owner},
            ).rowcount


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _listed(connection: sqlite3.Connection, row: sqlite3.Row) -> Entry | None:
    """One line of a list; None, and a word in the log, for one that was damaged: it must not hide the others."""
    try:
        return entries.entry_of(connection, row)
    except (ValueError, TypeError) as error:
        _LOG.warning("entry %s of the history is damaged and left out: %s", row["id"], error)
        return None
