"""Every comparison and quality run, kept in one file: found again, opened, resumed, replayed.

A run is committed when it is finished, in a transaction of its own: whatever ends the process, it is there afterwards.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from quantlab.errors import BadInput, Unavailable
from quantlab.export import quality_run_data, quality_run_from, record_data, record_from, run_data, run_from
from quantlab.export.wire import whole
from quantlab.records import Comparison, Quality, QualityRun, Run
from quantlab.store.database import Database
from quantlab.store.owners import owners

Kind = Literal["comparison", "quality"]
#: `running`: a process is at work; `interrupted`: it is gone, or gave up, before the end; `stopped`: by the user.
State = Literal["running", "done", "stopped", "interrupted"]
_TITLE, _SEARCHED, _WORDS = 200, 20_000, 50


@dataclass(frozen=True)
class Entry:
    """One line of the history. `title` is the prompt's beginning or the text's name; `finished` of `precisions`."""

    id: int
    kind: Kind
    state: State
    model: str
    title: str
    precisions: tuple[str, ...]
    finished: tuple[str, ...]
    started: datetime
    ended: datetime | None

    @property
    def resumable(self) -> bool:
        return self.state in ("interrupted", "stopped")


@dataclass(frozen=True)
class Resumed:
    """What leads on to the end: what was asked for, and the runs that are complete already."""

    asked: dict[str, Any]
    done: tuple[Run, ...] | tuple[QualityRun, ...]


class History:
    """The history in a file. Any thread may call it.

    `warning` is set where the file was damaged and set aside when this object was made. Everything raises Unavailable
    where the file cannot be used (no rights, a full disk, damage), BadInput where it is of a newer version. An entry
    that is not there, because it was deleted meanwhile, is BadInput.
    """

    def __init__(self, file: Path) -> None:
        self._database = Database(file)
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
        row = _head(draft, precisions) | {
            "state": "running",
            # In one time zone and one length, so that the texts sort by time.
            "started": draft.started.astimezone(UTC).isoformat(timespec="microseconds"),
            "owner": self._owner(),
            "asked": json.dumps(asked, allow_nan=False),
            "replay_key": key,
        }
        with self._database.writing() as connection:
            names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
            return connection.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", row).lastrowid

    def add_run(self, entry: int, run: Run | QualityRun) -> None:
        """Keep a finished run, in place of an earlier one of the same precision."""
        with self._database.writing() as connection:
            _row(connection, entry)
            _write_run(connection, entry, run)

    def finish(self, entry: int, record: Comparison | Quality) -> None:
        """Keep the whole record, which ends the entry. Only one that is complete and without errors is replayed."""
        stopped = any(run.stopped for run in record.runs)
        clean = not stopped and not any(run.error for run in record.runs)
        row = _head(record, [run.precision for run in record.runs]) | {
            "state": "stopped" if stopped else "done",
            "ended": _now(),
            "clean": clean,
            "id": entry,
        }
        changes = ", ".join(f"{name} = :{name}" for name in row if name not in ("clean", "id"))
        with self._database.writing() as connection:
            _row(connection, entry)
            connection.execute(
                f"UPDATE entries SET {changes}, owner = NULL,"
                " replay_key = CASE WHEN :clean THEN replay_key END WHERE id = :id",
                row,
            )
            connection.execute("DELETE FROM runs WHERE entry = ?", (entry,))
            for run in record.runs:
                _write_run(connection, entry, run)

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
        # More words than anybody types would exceed what a statement may hold.
        values: dict[str, Any] = {f"word{i}": word for i, word in enumerate(_searchable(search).split()[:_WORDS])}
        conditions = [f"instr(haystack, :{name}) > 0" for name in values]
        if kind is not None:
            conditions.append("kind = :kind")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values |= {"kind": kind, "limit": limit, "offset": offset}
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_ENTRY} FROM entries {where} ORDER BY started DESC, id DESC LIMIT :limit OFFSET :offset",
                values,
            ).fetchall()
            return tuple(_entry(connection, row) for row in rows)

    def entry(self, entry: int) -> Entry:
        """One line."""
        with self._database.reading() as connection:
            return _entry(connection, _row(connection, entry))

    def get(self, entry: int) -> Comparison | Quality:
        """The record with the runs that are finished, all of them or not."""
        with self._database.reading() as connection:
            head = _read(_row(connection, entry)["head"])
            return record_from(head | {"runs": _runs(connection, entry)})

    def asked(self, entry: int) -> dict[str, Any]:
        """What was given to `begin`."""
        with self._database.reading() as connection:
            return _read(_row(connection, entry)["asked"])

    def resume(self, entry: int) -> Resumed:
        """Take over an entry that did not come to its end, to go on with it and `finish` it.

        Raises BadInput where it has come to its end, or somebody is at work on it.
        """
        owner = self._owner()
        with self._database.writing() as connection:
            row = _row(connection, entry)
            if row["state"] == "running":
                raise BadInput("This is still being worked on.", "Wait for its end.")
            if row["state"] == "done":
                raise BadInput("This is complete already.", "Open it, or begin a new one.")
            connection.execute(
                "UPDATE entries SET state = 'running', owner = ?, ended = NULL WHERE id = ?", (owner, entry)
            )
            read = run_from if row["kind"] == "comparison" else quality_run_from
            runs = [read(data, f"runs[{i}]") for i, data in enumerate(_runs(connection, entry))]
        return Resumed(_read(row["asked"]), tuple(run for run in runs if not run.error and not run.stopped))

    def find(self, key: str) -> Entry | None:
        """The newest complete entry of that key, for a replay."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT {_ENTRY} FROM entries WHERE replay_key = ? AND state = 'done' ORDER BY id DESC LIMIT 1", (key,)
            ).fetchone()
            return row and _entry(connection, row)

    def delete(self, entry: int) -> None:
        """Remove an entry and its runs for good. Nothing happens where it is not there."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM entries WHERE id = ?", (entry,))

    def _look(self) -> None:
        with self._database.reading() as connection:
            connection.execute("SELECT count(*) FROM entries").fetchone()

    def _owner(self) -> str:
        try:
            return self._owners.mine()
        except OSError as error:
            raise Unavailable(
                f"The history in {self.file} cannot be used: {error.strerror or error}.",
                "Check the rights of its folder and the room on its disk.",
            ) from error

    def _interrupt(self, entry: int, owner: str | None) -> int:
        with self._database.writing() as connection:
            return connection.execute(
                "UPDATE entries SET state = 'interrupted', ended = :now, owner = NULL"
                " WHERE id = :id AND state = 'running' AND (:owner IS NULL OR owner = :owner)",
                {"now": _now(), "id": entry, "owner": owner},
            ).rowcount


_ENTRY = "id, kind, state, model, title, precisions, started, ended"


def _head(record: Comparison | Quality, precisions: Sequence[str]) -> dict[str, Any]:
    """The columns that follow from a record. JSON is kept in ASCII, which holds also what no encoding has."""
    data = record_data(record)
    del data["runs"]
    comparison = isinstance(record, Comparison)
    text = record.prompt if comparison else record.text.name
    model = whole(data["model"]["name"])
    return {
        "kind": "comparison" if comparison else "quality",
        "model": model,
        "title": whole(" ".join(text[: 4 * _TITLE].split())[:_TITLE]),
        "precisions": json.dumps([whole(name) for name in precisions]),
        "head": json.dumps(data, allow_nan=False),
        "haystack": _searchable(f"{model}\n{' '.join(precisions)}\n{text[:_SEARCHED]}"),
    }


def _searchable(text: str) -> str:
    return whole(text).casefold().replace("\0", " ")


def _row(connection: sqlite3.Connection, entry: int) -> sqlite3.Row:
    row = connection.execute("SELECT * FROM entries WHERE id = ?", (entry,)).fetchone()
    if row is None:
        raise BadInput(f"The history has no entry {entry}.", "It may have been deleted meanwhile: look at the list.")
    return row


def _entry(connection: sqlite3.Connection, row: sqlite3.Row) -> Entry:
    finished = connection.execute("SELECT precision FROM runs WHERE entry = ? ORDER BY position", (row["id"],))
    ended = row["ended"] and datetime.fromisoformat(row["ended"])
    times = {"started": datetime.fromisoformat(row["started"]), "ended": ended}
    names = tuple(it["precision"] for it in finished)
    texts = {name: row[name] for name in ("id", "kind", "state", "model", "title")}
    return Entry(**texts, precisions=tuple(json.loads(row["precisions"])), finished=names, **times)


def _runs(connection: sqlite3.Connection, entry: int) -> list[Any]:
    rows = connection.execute("SELECT data FROM runs WHERE entry = ? ORDER BY position", (entry,))
    return [_read(row["data"]) for row in rows]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadInput("This entry of the history was damaged.", "Delete it, and run it again.") from None


def _write_run(connection: sqlite3.Connection, entry: int, run: Run | QualityRun) -> None:
    data = run_data(run) if isinstance(run, Run) else quality_run_data(run)
    connection.execute(
        "INSERT INTO runs (entry, precision, position, data)"
        " VALUES (:entry, :precision, (SELECT count(*) FROM runs WHERE entry = :entry), :data)"
        " ON CONFLICT (entry, precision) DO UPDATE SET data = excluded.data",
        {"entry": entry, "precision": whole(run.precision), "data": json.dumps(data, allow_nan=False)},
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
