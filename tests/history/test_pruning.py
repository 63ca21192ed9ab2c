"""What goes from a history by age, number and size, what stays, and what that gives back to the disk."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quantlab.cli.arguments import age, size
from quantlab.errors import Unavailable
from quantlab.history import History, Limits, open_history, pruning, schema
from quantlab.settings import app_settings
from tests.examples import example_comparison

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parent.parent.parent


def kept(history: History, days: int, prompt: str = "Once") -> int:
    return history.keep(replace(example_comparison(), started=NOW - timedelta(days=days), prompt=prompt))


@pytest.fixture
def history(tmp_path) -> History:
    """Five entries, begun 40, 30, 20, 10 and 0 days ago."""
    history = History(tmp_path / "history.sqlite")
    for days in (40, 30, 20, 10, 0):
        kept(history, days)
    return history


def ids(history: History) -> list[int]:
    return sorted(entry.id for entry in history.entries())


def test_the_old_go(history):
    gone = history.prune(Limits(since=NOW - timedelta(days=25)))
    assert [entry.id for entry in gone.entries] == [2, 1] and gone.count == 2 and ids(history) == [3, 4, 5]
    assert history.get(3).prompt == "Once"


def test_the_many_go_the_newest_stay(history):
    imported = kept(history, 100)  # kept last, begun first
    assert history.prune(Limits(entries=2)).count == 4 and ids(history) == [4, 5] and imported == 6
    assert history.prune(Limits(entries=0)).count == 2 and ids(history) == []


def test_the_large_go(history):
    sizes = history.prune(Limits(entries=0), dry_run=True)
    one = sizes.nbytes // 5
    assert history.prune(Limits(nbytes=3 * one + one // 2)).count == 2 and ids(history) == [3, 4, 5]


def test_each_limit_counts_and_none_takes_nothing(history):
    assert history.prune(Limits()).count == 0
    assert history.prune(Limits(since=NOW - timedelta(days=35), entries=3)).count == 2 and ids(history) == [3, 4, 5]


def test_a_dry_run_says_the_same_and_removes_nothing(history):
    limits = Limits(since=NOW - timedelta(days=15), entries=4)
    before = history.file.read_bytes()
    told = history.prune(limits, dry_run=True)
    assert ids(history) == [1, 2, 3, 4, 5] and history.file.read_bytes() == before
    assert history.prune(limits) == told and told.count == 3 and told.nbytes > 1_000


def test_what_is_being_worked_on_never_goes(history):
    record = example_comparison()
    running = history.begin(replace(record, started=NOW - timedelta(days=900), runs=()), {"model": "demo"}, ["fp32"])
    assert history.prune(Limits(since=NOW, entries=0, nbytes=0)).count == 5
    assert ids(history) == [running] and history.entry(running).state == "running"
    history.add_run(running, record.runs[0])
    history.interrupt(running)
    assert history.prune(Limits(entries=0)).count == 1


def test_its_runs_go_with_an_entry_and_the_room_goes_back_to_the_disk(history):
    for i in range(30):
        kept(history, 1, prompt="word " * 20_000 + str(i))
    before = history.file.stat().st_size
    assert before > 3_000_000
    history.prune(Limits(entries=1))
    assert history.file.stat().st_size < before / 10
    connection = sqlite3.connect(history.file)
    assert (
        connection.execute("SELECT count(*) FROM runs WHERE entry NOT IN (SELECT id FROM entries)").fetchone()[0] == 0
    )
    connection.close()


def test_a_damaged_entry_goes_like_the_others(history):
    connection = sqlite3.connect(history.file)
    connection.execute("UPDATE entries SET started = 'nonsense', precisions = '[' WHERE id = 1")
    connection.commit()
    connection.close()
    gone = history.prune(Limits(entries=0))
    assert gone.count == 5 and [entry.id for entry in gone.entries] == [5, 4, 3, 2]


def test_where_the_room_cannot_be_given_back_what_was_to_go_is_gone(history, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA", replace(schema.SCHEMA, busy_s=0.1))
    history = History(history.file)
    reader = sqlite3.connect(history.file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchone()
    held = sqlite3.connect(history.file, isolation_level=None)
    compact, taken = pruning.compact, []

    def while_another_writes(database):
        held.execute("BEGIN IMMEDIATE")
        taken.append(True)
        compact(database)

    monkeypatch.setattr(pruning, "compact", while_another_writes)
    with pytest.raises(Unavailable, match="gone, but the file could not be made smaller") as error:
        history.prune(Limits(entries=2))
    held.execute("ROLLBACK")
    assert taken and "again" in error.value.advice and ids(history) == [4, 5]
    reader.close()
    held.close()


def test_above_its_limit_the_oldest_go_before_a_new_one_begins(tmp_path, caplog):
    history = History(tmp_path / "capped.sqlite", limit=2_000_000)
    for i in range(60):  # half as much again as there is room for
        kept(history, 60 - i, prompt="word " * 10_000 + str(i))
    assert history.used_bytes() < 2_200_000 and history.file.stat().st_size < 2_500_000
    left = [entry.id for entry in history.entries()]
    assert 5 < len(left) < 50 and left[0] == 60 and left == list(range(60, 60 - len(left), -1))
    assert "oldest entries were removed" in caplog.text


def test_the_limit_is_a_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTLAB_HISTORY_FILE", str(tmp_path / "h.sqlite"))
    for value, limit in ((None, 10**9), ("12345", 12_345)):
        if value:
            monkeypatch.setenv("QUANTLAB_HISTORY_BYTES", value)
        app_settings.cache_clear()
        assert open_history().limit == limit
    monkeypatch.undo()
    app_settings.cache_clear()


@pytest.mark.parametrize(
    ("typed", "span"),
    [
        ("90d", timedelta(90)),
        ("12h", timedelta(hours=12)),
        ("6w", timedelta(42)),
        ("7", timedelta(7)),
        ("0D", timedelta()),
    ],
)
def test_ages_are_read(typed, span):
    assert age(typed) == span


@pytest.mark.parametrize(
    ("typed", "nbytes"),
    [("200MB", 200_000_000), ("1.5 GB", 1_500_000_000), ("0", 0), ("5kb", 5_000), ("1MiB", 2**20), ("12b", 12)],
)
def test_sizes_are_read(typed, nbytes):
    assert size(typed) == nbytes


def command(file: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"QUANTLAB_HISTORY_FILE": str(file)}
    command = [sys.executable, "-m", "quantlab.cli", "history", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_command_says_what_would_go_and_then_what_went(history):
    told = command(history.file, "prune", "--keep", "3", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "2 entries with" in told.stderr and "nothing was removed" in told.stderr and len(ids(history)) == 5
    assert [line.split()[0] for line in told.stdout.splitlines() if not line.startswith(" ")] == ["2", "1"]
    done = command(history.file, "prune", "--keep", "3")
    assert done.returncode == 0 and "2 entries removed; the file has" in done.stderr and ids(history) == [3, 4, 5]
    assert "0 entries removed" in command(history.file, "prune").stderr and ids(history) == [3, 4, 5]
    assert "3 entries removed" in command(history.file, "prune", "--older-than", "0h").stderr


@pytest.mark.parametrize(
    "wrong", [("--older-than", "soon"), ("--older-than", "-3d"), ("--max-size", "1TB"), ("--keep", "-1")]
)
def test_the_command_refuses_what_it_cannot_read(history, wrong):
    told = command(history.file, "prune", f"{wrong[0]}={wrong[1]}")
    assert told.returncode == 2 and "Traceback" not in told.stderr and len(ids(history)) == 5
