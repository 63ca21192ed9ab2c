"""Classes and their answers: what is counted, what is refused, what is kept of a visitor, what goes wrong."""

import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.errors import BadInput, Unavailable
from quantlab.teach.classroom import Asked, Catalog, Classroom, Limits, store
from quantlab.teach.classroom.board import Board

WHICH = Asked("Which one?", ("fp32", "nf4"), "nf4", precision="nf4", place=2)
OTHER = Asked("Which other?", ("fp32", "bf16", "nf4"), "nf4", precision="nf4", place=1)
BITS = Asked("How many bits?", truth=4.0, unit="bits")
KNOWN = {"quiz/one/which": WHICH, "quiz/two/which": OTHER, "lesson-1/bits": BITS}
CATALOG = Catalog(KNOWN.get)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "classroom.sqlite"


@pytest.fixture
def room(file: Path) -> Classroom:
    return Classroom(file, CATALOG)


def test_votes_are_counted_once_for_each_visitor_and_question(room):
    code, other = room.open(), room.open()
    assert room.answer(code, "quiz/one/which", "visitor-1", "nf4") is True
    assert room.answer(code, "quiz/one/which", "visitor-1", "fp32") is False
    assert room.answer(code, "quiz/two/which", "visitor-1", "bf16") is True
    assert room.answer(code, "quiz/one/which", "visitor-2", "fp32") is True
    assert room.answer(other, "quiz/one/which", "visitor-1", "fp32") is True
    assert room.answers(code, "quiz/one/which") == ("fp32", "nf4") and room.answers(other, "quiz/two/which") == ()


def test_codes_are_hard_to_misread_and_forgiving_to_type(room):
    code = room.open()
    assert len(code) == 6 and set(code) <= set(store.ALPHABET) and not set(code) & set("0O1IL2Z5S8B")
    spelt = f" {code[:3].lower()}-{code[3:].lower()} "
    assert room.exists(spelt) and room.found(spelt) == code


@pytest.mark.parametrize(
    ("code", "what"),
    [
        *((it, "No class code was typed") for it in ("", " - ", None, 7, ["AAAAAA"])),
        ("AAAAAA", "There is no class AAAAAA"),
        ("acd4", "ACD4 is no class code: it is 4 long, not 6"),
        ("acd-efg-7", "ACDEFG7 is no class code: it is 7 long, not 6"),
        ("x" * 100_000, "What was typed is no class code: it is 100,000 long, not 6"),
        ("\x00", "What was typed is no class code: it is 1 long, not 6"),
        ("O1ACDO", "O1ACDO is no class code: no code has O 1"),
        ("ACDE<>", "ACDE<> is no class code: no code has < >"),
        ("\ud800" * 6, "What was typed is no class code: no code has one of its characters"),
    ],
)
def test_a_code_that_does_not_exist_is_told_from_what_can_be_none(room, code, what):
    room.open()
    assert not room.exists(code)
    for ask in (
        room.found,
        room.board,
        lambda it: room.answer(it, "quiz/one/which", "visitor-1", "nf4"),
        lambda it: room.counted(it, "quiz/one/which", "visitor-1"),
    ):
        with pytest.raises(BadInput, match=re.escape(what)) as told:
            ask(code)
        shown = str(told.value)
        assert len(shown) < 250 and shown.encode() and ("6 letters and digits" in shown) == ("no class A" not in shown)


def test_the_answer_that_counts_is_known(room):
    code, other = room.open(), room.open()
    assert room.counted(code, "quiz/one/which", "visitor-1") is None
    room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    room.answer(code, "quiz/one/which", "visitor-1", "fp32")
    assert room.counted(code.lower(), "quiz/one/which", "visitor-1") == "nf4"
    for elsewhere in (
        (code, "quiz/two/which", "visitor-1"),
        (code, "quiz/one/which", "visitor-2"),
        (other, "quiz/one/which", "visitor-1"),
    ):
        assert room.counted(*elsewhere) is None


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("quiz/one/which", "bf16"),
        ("quiz/one/which", ""),
        ("quiz/one/which", "n" * 10**6),
        ("quiz/one/which", 1),
        ("quiz/one/which", None),
        ("quiz/one/which", ["nf4"]),
        ("lesson-1/bits", "four"),
        ("lesson-1/bits", float("nan")),
        ("lesson-1/bits", float("inf")),
        ("lesson-1/bits", 1e300),
        ("lesson-1/bits", 10**400),
        ("lesson-1/bits", True),
        ("lesson-1/bits", None),
        ("lesson-9/what", 1.0),
        ("", "nf4"),
    ],
)
def test_an_answer_that_a_question_does_not_take_is_refused_and_not_kept(room, question, value):
    code = room.open()
    with pytest.raises(BadInput):
        room.answer(code, question, "visitor-1", value)
    assert room.board(code) == Board(code, 0)


@pytest.mark.parametrize("visitor", ["", None, 7, "v" * 10_000])
def test_a_visitor_that_is_none_is_refused(room, visitor):
    with pytest.raises(BadInput, match="which visitor"):
        room.answer(room.open(), "quiz/one/which", visitor, "nf4")


def test_nothing_personal_is_kept(room, file: Path):
    codes = [room.open(), room.open()]
    for code in codes:
        room.answer(code, "quiz/one/which", "visitor-marta-1234", "nf4")
    content = b"".join(path.read_bytes() for path in file.parent.glob("classroom.sqlite*"))
    assert b"marta" not in content
    with sqlite3.connect(file) as connection:
        visitors = connection.execute("SELECT visitor FROM answers").fetchall()
        tables = ("classes", "answers", "visitors")
        columns = {row[1] for table in tables for row in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()
    assert len(set(visitors)) == 2, "of the same visitor two classes know nothing in common"
    assert columns == {"code", "salt", "used", "answers", "question", "visitor", "value"}


def test_what_was_voted_is_there_after_a_restart_and_a_kill(file: Path):
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from tests.teach.classroom.test_store import CATALOG, Classroom\n"
        "room = Classroom(Path(sys.argv[1]), CATALOG); code = room.open()\n"
        "room.answer(code, 'quiz/one/which', 'visitor-1', 'nf4'); print(code, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True)
    room = Classroom(file, CATALOG)
    code = done.stdout.strip()
    assert room.answers(code, "quiz/one/which") == ("nf4",), done.stderr
    assert room.answer(code, "quiz/one/which", "visitor-1", "fp32") is False


def test_thirty_at_once_lose_nothing_and_count_nothing_twice(file: Path):
    rooms = [Classroom(file, CATALOG), Classroom(file, CATALOG)]  # as two processes would have
    code, together = rooms[0].open(), threading.Barrier(30)

    def vote(number: int) -> list[bool]:
        together.wait()
        room, value = rooms[number % 2], "nf4" if number % 3 else "fp32"
        return [room.answer(code, "quiz/one/which", f"visitor-{number}", value) for _ in range(2)]

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(vote, range(30))) == [[True, False]] * 30
    (votes,) = rooms[1].board(code).votes
    assert dict(votes.counts) == {"fp32": 10, "nf4": 20} and rooms[0].board(code).visitors == 30


def test_a_board_counts_measures_and_tests(room):
    code = room.open()
    for number in range(24):
        room.answer(code, "quiz/one/which", f"visitor-{number}", "nf4" if number < 17 else "fp32")
    for number, bits in enumerate((1, 2.9, 3.6, 4, 4.4, 4.5, 6, 8, 8.1)):
        room.answer(code, "lesson-1/bits", f"visitor-{number}", bits)
    board = room.board(code)
    (votes,), (predicted,), (found,) = board.votes, board.predictions, board.found
    assert (board.visitors, votes.total, votes.right) == (24, 24, 17)
    assert (
        found.sentence
        == "17 of 24 found nf4; by guessing alone so many, or more, would come about in 3 of 100 classes."
    )
    assert predicted.median == 4.4
    assert [count for _, count in predicted.bins] == [1, 1, 0, 3, 1, 1, 1, 1]


def test_votes_among_two_and_three_answers_of_a_precision_are_one_line(room):
    code = room.open()
    room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    room.answer(code, "quiz/two/which", "visitor-1", "nf4")
    (found,) = room.board(code).found
    assert (found.right, found.votes, found.by_guessing) == (2, 2, pytest.approx(1 / 6))
    assert [votes.asked.title for votes in room.board(code).votes] == ["Which other?", "Which one?"]


def test_what_is_not_asked_any_more_is_told(file: Path, room):
    code = room.open()
    room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    room.answer(code, "lesson-1/bits", "visitor-1", 4)
    changed = Classroom(file, Catalog({"lesson-1/bits": replace(BITS, choices=("few", "many"), truth="few")}.get))
    assert changed.board(code).gone == 2
    nothing_true = Classroom(file, Catalog({"lesson-1/bits": replace(BITS, truth=None)}.get)).board(code)
    assert nothing_true.predictions[0].bins == () and nothing_true.predictions[0].median == 4


def test_of_many_codes_the_oldest_without_answers_go_first(file: Path):
    room = Classroom(file, CATALOG, Limits(classes=5))
    answered = room.open()
    room.answer(answered, "quiz/one/which", "visitor-1", "nf4")
    bot = [room.open() for _ in range(100)]
    assert room.exists(answered) and [room.exists(code) for code in bot] == [False] * 96 + [True] * 4
    full = Classroom(file, CATALOG, Limits(classes=3))
    for code in bot[-4:]:
        full.answer(code, "quiz/one/which", "visitor-1", "nf4")
    newest = full.open()
    assert not full.exists(answered) and full.exists(newest) and full.exists(bot[-1])
    with sqlite3.connect(file) as connection:
        left = {row[0] for row in connection.execute("SELECT DISTINCT code FROM answers")}
    connection.close()
    assert left == {bot[-2], bot[-1]}, "with a class its answers go"


def test_a_class_has_so_many_visitors(file: Path):
    room = Classroom(file, CATALOG, Limits(visitors=3))
    code = room.open()
    for number in range(3):
        room.answer(code, "quiz/one/which", f"visitor-{number}", "nf4")
    with pytest.raises(BadInput, match="3 visitors already"):
        room.answer(code, "quiz/one/which", "visitor-3", "nf4")
    assert room.answer(code, "quiz/two/which", "visitor-0", "nf4"), "who is in stays in"


def test_above_its_bytes_the_longest_unused_class_goes(file: Path):
    filled = Classroom(file, CATALOG, Limits(visitors=10_000))
    old, new = filled.open(), filled.open()
    with sqlite3.connect(file) as connection:
        for code in (old, new):
            rows = [(code, "quiz/one/which", number.to_bytes(16, "big"), "nf4") for number in range(3_000)]
            connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?)", rows)
    connection.close()
    room = Classroom(file, CATALOG, Limits(nbytes=300_000))
    room.answer(new, "quiz/two/which", "visitor-1", "nf4")
    assert room.exists(new) and not room.exists(old)


@pytest.mark.parametrize("content", (b"this is no database" * 1_000, b"SQLite format 3\0" + b"\xff" * 5_000))
def test_a_damaged_file_is_set_aside_and_told(file: Path, content: bytes):
    file.write_bytes(content)
    room = Classroom(file, CATALOG)
    (aside,) = file.parent.glob("classroom.sqlite.damaged-*")
    assert aside.read_bytes() == content and "The classroom in" in room.warning and aside.name in room.warning
    assert room.exists(room.open())


def test_a_file_that_is_damaged_or_taken_away_later_begins_anew(file: Path, room):
    code = room.open()
    for path in file.parent.glob("classroom.sqlite*"):
        path.unlink()
    assert not room.exists(code)
    code = room.open()
    room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    for path in file.parent.glob("classroom.sqlite-*"):
        path.unlink()
    file.write_bytes(b"no database any more" * 1_000)
    with pytest.raises(Unavailable, match="set aside"):
        room.open()
    assert room.exists(room.open()) and len(list(file.parent.glob("*.damaged-*"))) == 1


def test_many_small_answers_do_not_each_wait_for_the_disk(room, file: Path, monkeypatch):
    code = room.open()
    before = file.stat().st_mtime_ns
    for number in range(20):
        room.answer(code, "quiz/one/which", f"visitor-{number}", "nf4")
    assert file.stat().st_mtime_ns == before, "what is written waits in SQLite's log"
    assert Classroom(file, CATALOG).board(code).visitors == 20


def test_a_locked_file_is_told_soon(file: Path, monkeypatch):
    monkeypatch.setattr(store, "SCHEMA", replace(store.SCHEMA, busy_s=0.1))
    room = Classroom(file, CATALOG)
    code = room.open()
    held = sqlite3.connect(file, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    held.execute("ROLLBACK")
    held.close()
    assert room.answer(code, "quiz/one/which", "visitor-1", "nf4") is True


def test_a_full_disk_is_told_and_costs_no_vote(file: Path, room, monkeypatch):
    code = room.open()
    room.answer(code, "quiz/one/which", "visitor-1", "nf4")
    connect, pages = sqlite3.connect, file.stat().st_size // 4096

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(Unavailable, match="disk is full"):
        for number in range(2, 2_000):
            room.answer(code, "quiz/one/which", f"visitor-{number}", "nf4")
    monkeypatch.undo()
    assert room.answers(code, "quiz/one/which")[0] == "nf4" and room.answer(code, "quiz/two/which", "visitor-1", "nf4")


def test_a_newer_file_and_another_program_s_are_refused(file: Path, room):
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(BadInput, match=r"classroom.*version 99.*QUANTLAB_CLASSROOM_FILE"):
        Classroom(file, CATALOG)
    history = file.with_name("history.sqlite")
    with sqlite3.connect(history) as connection:
        connection.execute("CREATE TABLE entries (id)")
    connection.close()
    with pytest.raises(BadInput, match="another program"):
        Classroom(history, CATALOG)
