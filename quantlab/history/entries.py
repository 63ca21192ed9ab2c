"""What an entry of the history is, and its rows in the database."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from quantlab.errors import BadInput
from quantlab.export import quality_run_data, record_data, run_data
from quantlab.export.codec import whole
from quantlab.records import Comparison, Quality, QualityRun, Run

Kind = Literal["comparison", "quality"]
#: `running`: a process is at work; `interrupted`: it is gone, or gave up, before the end; `stopped`: by the user.
State = Literal["running", "done", "stopped", "interrupted"]
# Characters of a title, and of a text that is searched.
_TITLE, _SEARCHED = 200, 20_000


@dataclass(frozen=True)
class Entry:
    """One line of the history. `title` is the prompt's beginning, or what was read and asked.

    Of `precisions`, `finished` came to an end of their own, the `failed` ones among them with an error. `imported`: it
    came from a file.
    """

    id: int
    kind: Kind
    state: State
    model: str
    title: str
    precisions: tuple[str, ...]
    finished: tuple[str, ...]
    started: datetime
    ended: datetime | None
    failed: tuple[str, ...] = ()
    imported: bool = False

    @property
    def resumable(self) -> bool:
        return self.state in ("interrupted", "stopped")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know beside the state, in words."""
        failed = (f"{len(self.failed)} failed",) if self.failed else ()
        return (*failed, *(("from a file",) if self.imported else ()))


COLUMNS = "id, kind, state, model, title, precisions, started, ended, asked"
_FINISHED = """
SELECT precision, outcome = 'failed' AS failed FROM runs
WHERE entry = ? AND outcome IN ('done', 'failed') ORDER BY position
"""


def head(record: Comparison | Quality, precisions: Sequence[str]) -> dict[str, Any]:
    """The columns that follow from a record. JSON is kept in ASCII, which holds also what no encoding has."""
    data = record_data(record)
    del data["runs"]
    kind: Kind = "comparison" if isinstance(record, Comparison) else "quality"
    text = record.prompt if isinstance(record, Comparison) else _read_and_asked(record)
    model = whole(data["model"]["name"])
    return {
        "kind": kind,
        "model": model,
        "title": whole(" ".join(text[: 4 * _TITLE].split())[:_TITLE]),
        "precisions": json.dumps([whole(name) for name in precisions]),
        "head": json.dumps(data, allow_nan=False),
        "haystack": searchable(f"{model}\n{' '.join(precisions)}\n{text[:_SEARCHED]}"),
    }


def _read_and_asked(quality: Quality) -> str:
    """What a quality run read and answered, in a line."""
    text = quality.text
    of = f"{text.name}, {text.windows:,} window{'s' * (text.windows != 1)} of {text.window_tokens} tokens"
    return ", ".join((of, *quality.settings.tasks))


def searchable(text: str) -> str:
    return whole(text).casefold().replace("\0", " ")


def row_of(connection: sqlite3.Connection, entry: int) -> sqlite3.Row:
    row = connection.execute("SELECT * FROM entries WHERE id = ?", (entry,)).fetchone()
    if row is None:
        raise BadInput(f"The history has no entry {entry}.", "It may have been deleted meanwhile: look at the list.")
    return row


def entry_of(connection: sqlite3.Connection, row: sqlite3.Row) -> Entry:
    finished = connection.execute(_FINISHED, (row["id"],)).fetchall()
    return Entry(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        model=row["model"],
        title=row["title"],
        precisions=tuple(json.loads(row["precisions"])),
        finished=tuple(it["precision"] for it in finished),
        failed=tuple(it["precision"] for it in finished if it["failed"]),
        imported=row["asked"] == "{}",
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
    )


def runs_of(connection: sqlite3.Connection, entry: int) -> list[Any]:
    rows = connection.execute("SELECT data FROM runs WHERE entry = ? ORDER BY position", (entry,))
    return [read(row["data"]) for row in rows]


def read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadInput("This entry of the history was damaged.", "Delete it, and run it again.") from None


def write_run(connection: sqlite3.Connection, entry: int, run: Run | QualityRun) -> None:
    data = run_data(run) if isinstance(run, Run) else quality_run_data(run)
    connection.execute(
        "INSERT INTO runs (entry, precision, position, data, outcome)"
        " VALUES (:entry, :precision, (SELECT count(*) FROM runs WHERE entry = :entry), :data, :outcome)"
        " ON CONFLICT (entry, precision) DO UPDATE SET data = excluded.data, outcome = excluded.outcome",
        {
            "entry": entry,
            "precision": whole(run.precision),
            "data": json.dumps(data, allow_nan=False),
            "outcome": "stopped" if run.stopped else "failed" if run.error is not None else "done",
        },
    )
