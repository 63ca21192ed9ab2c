"""What goes when a folder holds too much: the least recently used, and never what stays for a reason."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.runtime.least_recent import Item, item, items, nbytes, shrink, touch


def gone(held: list[Item], limit: int, keep: str = "", busy: str = "") -> list[str]:
    """The names that went, in their order."""
    went: list[str] = []

    def remove(name: str) -> bool:
        if name != busy:
            went.append(name)
        return name != busy

    shrink(held, limit, keep, remove)
    return went


HELD = [Item("new", 10, 3), Item("old", 10, 1), Item("middle", 10, 2)]


@pytest.mark.parametrize(
    ("limit", "more", "went"),
    [
        (30, {}, []),
        (29, {}, ["old"]),
        (10, {}, ["old", "middle"]),
        (0, {}, ["old", "middle", "new"]),
        (20, {"keep": "old"}, ["middle"]),
        (0, {"keep": "new"}, ["old", "middle"]),
        (20, {"busy": "old"}, ["middle"]),
    ],
)
def test_the_oldest_goes_first_and_no_more_than_must(limit, more, went):
    assert gone(HELD, limit, **more) == went


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10**18)), max_size=12), st.integers(0, 600))
def test_what_is_left_fits_or_nothing_else_could_go(sizes, limit):
    held = [Item(str(place), size, used) for place, (size, used) in enumerate(sizes)]
    went = set(gone(held, limit, keep="0"))
    left = [it for it in held if it.name not in went]
    assert "0" not in went and (sum(it.nbytes for it in left) <= limit or {it.name for it in left} <= {"0"})
    newest_gone = max((it.used for it in held if it.name in went), default=0)
    assert all(it.used >= newest_gone or it.name == "0" for it in left)


def test_files_and_folders_are_told_by_their_own_bytes_and_their_mark(tmp_path):
    (folder := tmp_path / "a" / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"12345")
    (tmp_path / "a" / "mark").write_bytes(b"67")
    (tmp_path / "b").write_bytes(b"8")
    os.utime(tmp_path / "a" / "mark", (50, 50))
    assert item(tmp_path / "a", tmp_path / "a" / "mark") == Item("a", 7, 50 * 10**9)
    assert nbytes(tmp_path / "b") == 1
    touch(tmp_path / "a" / "mark")
    assert item(tmp_path / "a", tmp_path / "a" / "mark").used > 10**18


def test_what_another_process_removed_is_not_there(tmp_path):
    (tmp_path / "here").write_bytes(b"1")
    assert [it.name for it in items([tmp_path / "here", tmp_path / "gone"])] == ["here"]
    assert item(tmp_path / "here", tmp_path / "no mark") is None


def test_what_is_used_stays_though_the_clock_was_set_back(tmp_path):
    tomorrow = time.time() + 24 * 3600
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (tomorrow, tomorrow))
    for name in ("c", "a"):
        touch(tmp_path / name, tmp_path.iterdir())
    went = []
    shrink(items(tmp_path.iterdir()), 1, "", lambda name: went.append(name) is None)
    assert went == ["b", "c"]


def test_what_went_meanwhile_cannot_be_touched(tmp_path):
    with pytest.raises(FileNotFoundError):
        touch(tmp_path / "gone", [tmp_path / "gone", tmp_path / "too"])
