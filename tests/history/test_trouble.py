"""What goes wrong with a history: processes killed, files damaged or of another program, full disks, two at once."""

import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from quantlab.errors import BadInput, Unavailable
from quantlab.history import History, schema
from quantlab.history.owners import Owners
from quantlab.runtime.database import Schema
from tests.examples import example_comparison

ROOT = Path(__file__).resolve().parent.parent.parent
#: Writes run after run without end, and tells the number of each that is kept.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from quantlab.history import History
from tests.examples import example_comparison

history, record = History(Path(sys.argv[1])), example_comparison(("fp32", "nf4"), stopped=None)
entry = history.begin(replace(record, runs=()), {"model": "demo"}, ["many"])
print(entry, flush=True)
for i in range(10**6):
    history.add_run(entry, replace(record.runs[1], precision=f"p{i}"))
    print(i, flush=True)
"""


def writer(file: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def with_step(*statements: str) -> Schema:
    """The history's tables with one step more."""
    return replace(schema.SCHEMA, migrations=(*schema.MIGRATIONS, statements))


def kept(history: History) -> int:
    record = example_comparison(("fp32", "nf4"), stopped=None)
    return history.keep(record)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "history.sqlite"


def test_kill_9_while_writing_loses_nothing_that_was_finished(file: Path):
    process = writer(file)
    try:
        entry = int(process.stdout.readline())
        told = [int(process.stdout.readline()) for _ in range(7)]
        history = History(file)
        assert history.mark_interrupted() == 0, "who is at work is not interrupted"
        assert history.entry(entry).state == "running"
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0]
    told += [int(line) for line in rest.split() if line.isdigit()]
    history = History(file)
    assert history.mark_interrupted() == 1 and history.mark_interrupted() == 0
    line = history.entry(entry)
    assert line.state == "interrupted" and line.resumable and line.ended is not None
    runs = history.get(entry).runs
    assert {f"p{i}" for i in told[:-1]} <= {run.precision for run in runs} and len(told) >= 7
    expected = example_comparison(("fp32", "nf4"), stopped=None).runs[1]
    assert all(replace(run, precision="nf4") == expected for run in runs)
    assert len(history.resume(entry).done) == len(runs)
    assert history.mark_interrupted() == 0, "this process has taken it over"
    assert len(list(file.parent.glob("history.sqlite.running/*"))) == 1, "the dead process's lock is gone"


def test_two_processes_do_not_mark_each_other_s(tmp_path):
    folder = tmp_path / "locks"
    one, other = Owners(folder), Owners(folder)
    assert one.mine() == one.mine() != other.mine()
    assert one.alive(other.mine()) and other.alive(one.mine()) and one.alive(one.mine())
    other.sweep()
    assert len(list(folder.iterdir())) == 2
    assert not one.alive("0" * 32)
    (folder / "gone.lock").touch()
    one.sweep()
    assert not (folder / "gone.lock").exists() and one.alive(other.mine())


@pytest.mark.parametrize("content", (b"this is no database" * 1_000, b"SQLite format 3\0" + b"\xff" * 5_000))
def test_a_file_that_is_no_database_is_set_aside_and_said_once(file: Path, content: bytes):
    file.write_bytes(content)
    history = History(file)
    (aside,) = file.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == content and aside.name in history.warning and "damaged" in history.warning
    assert history.get(kept(history)) and History(file).warning == ""


def test_damage_met_later_is_told_and_the_next_call_goes_on(file: Path):
    history = History(file)
    entry = kept(history)
    damaged = bytearray(file.read_bytes())
    damaged[4096:] = b"\x55" * (len(damaged) - 4096)
    file.write_bytes(damaged)
    with pytest.raises(Unavailable, match="set aside"):
        history.get(entry)
    assert history.entries() == () and history.get(kept(history))
    (aside,) = file.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == damaged


def test_a_newer_history_is_refused_and_left_as_it_is(file: Path):
    kept(History(file))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(BadInput, match=rf"version 99.*up to {schema.SCHEMA.version}.*Update"):
        History(file)
    assert file.read_bytes() == before


def test_a_database_of_another_program_is_refused(file: Path):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(BadInput, match="another program"):
        History(file)
    assert file.read_bytes() == before


def test_an_older_history_is_migrated_and_an_interrupted_migration_undone(file: Path, monkeypatch):
    entry = kept(History(file))
    more = ("ALTER TABLE entries ADD COLUMN note TEXT", "UPDATE entries SET note = 'migrated'")
    monkeypatch.setattr(schema, "SCHEMA", with_step(*more, "SELECT no_such_column FROM entries"))
    with pytest.raises(sqlite3.OperationalError, match="no_such_column"):
        History(file)
    monkeypatch.setattr(schema, "SCHEMA", with_step(*more))
    assert History(file).get(entry)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT note FROM entries").fetchall() == [("migrated",)]
    connection.close()


def test_a_full_disk_is_told_and_costs_nothing_that_was_kept(file: Path, monkeypatch):
    history = History(file)
    entry = kept(history)
    whole = history.get(entry)
    connect, pages = sqlite3.connect, file.stat().st_size // 4096 + 3

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    record = example_comparison(("fp32", "nf4"), stopped=None, count=400)
    with pytest.raises(Unavailable, match="disk is full"):
        history.keep(record)
    assert history.get(entry) == whole
    monkeypatch.undo()
    assert history.get(history.keep(record)).runs == record.runs


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        "disk I/O error",
        "unable to open database file",
    ],
)
def test_a_full_disk_is_named_wherever_it_is_met(file: Path, monkeypatch, error):
    """The lock of a process, the folder, and what SQLite writes beside its file."""
    history = History(file)
    if isinstance(error, str):
        refused = sqlite3.OperationalError(error)
        refused.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE if "I/O" in error else sqlite3.SQLITE_CANTOPEN
        monkeypatch.setattr(sqlite3, "connect", lambda *_args, **_more: (_ for _ in ()).throw(refused))
        monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=4_096))
    else:
        monkeypatch.setattr(history._owners, "mine", lambda: (_ for _ in ()).throw(error))
    with pytest.raises(Unavailable, match="the disk is full") as told:
        kept(history)
    assert "rights" not in str(told.value) and "Free some space" in told.value.advice
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=10**9))
    if isinstance(error, str):
        with pytest.raises(Unavailable, match="cannot be used"):
            kept(history)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be used"):
        History(tmp_path / "file" / "history.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(Unavailable, match="cannot be used"):
        History(tmp_path / "folder.sqlite")


def test_a_file_that_was_taken_away_begins_anew(file: Path):
    history = History(file)
    kept(history)
    for path in file.parent.glob("history.sqlite*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert history.entries() == () and history.get(kept(history))


def test_an_entry_changed_by_hand_is_refused_by_name(file: Path):
    history = History(file)
    entry = kept(history)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE runs SET data = json_set(data, '$.stored_bytes', 'many') WHERE precision = 'nf4'")
        connection.execute("UPDATE entries SET asked = '{'")
    connection.close()
    with pytest.raises(BadInput, match=r"runs\[1\].stored_bytes"):
        history.get(entry)
    with pytest.raises(BadInput, match="damaged"):
        history.asked(entry)


@pytest.mark.parametrize("column", ["started", "precisions"])
def test_one_damaged_entry_does_not_hide_the_others(file: Path, column: str, caplog):
    history = History(file)
    damaged, whole = kept(history), kept(history)
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE entries SET {column} = 'nonsense' WHERE id = ?", (damaged,))
    connection.close()
    assert [entry.id for entry in history.entries()] == [whole]
    assert "is damaged and left out" in caplog.text
