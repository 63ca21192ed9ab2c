"""Folders written aside: whole or not at all, and nothing left of those whose writer was killed."""

import multiprocessing
import os
from pathlib import Path

import pytest

from quantlab.checkpoints.staging import StagingArea, atomic_folder
from quantlab.errors import BadInput, ModelError, OutOfMemory, Unavailable

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def work(tmp_path) -> StagingArea:
    return StagingArea(tmp_path / "store")


def inside(folder: Path) -> list[str]:
    return sorted(str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file())


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "aside", tmp_path / "out") as aside:
        (aside / "half").write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "aside", tmp_path / "out") as aside:
        (aside / "whole").write_text("whole")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "whole"]
    assert (tmp_path / "out" / "whole").stat().st_mode & 0o777 == 0o644
    with pytest.raises(BadInput, match="not empty"), atomic_folder(tmp_path / "aside", tmp_path / "out") as aside:
        (aside / "late").write_text("another process was quicker")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["out", "whole"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), Unavailable),
        (PermissionError(13, "Permission denied"), ModelError),
        (OutOfMemory("no room to write {}", "advice"), OutOfMemory),
    ],
)
def test_messages_name_what_the_user_gave(tmp_path, error, raised):
    aside, out = tmp_path / ".out.123", tmp_path / "out"
    with pytest.raises(raised) as told, atomic_folder(aside, out):
        if isinstance(error, OSError):
            error.filename = str(aside / "part")
        else:
            error = OutOfMemory(error.what.format(aside / "part"), error.advice)
        raise error
    assert str(out / "part") in str(told.value) and ".123" not in str(told.value)


def test_what_cannot_be_created_is_said_so(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    with (
        pytest.raises(BadInput, match=r"^\S+/file/out cannot be created \(Not a directory\)\."),
        atomic_folder(file / ".out.123", file / "out"),
    ):
        pass


def _write(root: Path, aside: Path, told, die: bool) -> None:
    with StagingArea(root).register(aside), atomic_folder(aside, aside.parent / "out") as folder:
        (folder / "half").write_text("half")
        told.send("written")
        if die:
            os.kill(os.getpid(), 9)
        told.recv()


def begin(work: StagingArea, aside: Path, die: bool):
    """A process that writes aside, and the end of a pipe that lets it go on."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_write, args=(work.root, aside, theirs, die))
    process.start()
    assert ours.recv() == "written"
    return process, ours


def test_what_a_killed_process_left_elsewhere_is_removed(work, tmp_path):
    aside = tmp_path / "far" / ".out.0a1b"
    process, _ = begin(work, aside, die=True)
    process.join(30)
    assert (process.exitcode, inside(aside)) == (-9, ["half"])
    work.sweep()
    assert not aside.exists() and aside.parent.is_dir() and inside(work.root) == []


def test_what_a_living_process_writes_elsewhere_stays(work, tmp_path):
    process, go_on = begin(work, tmp_path / ".out.0a1b", die=False)
    work.sweep()
    assert inside(tmp_path / ".out.0a1b") == ["half"]
    go_on.send("go on")
    process.join(30)
    assert process.exitcode == 0 and inside(tmp_path) == ["out/half"], "and no note of it"


def test_a_folder_written_beside_its_place(work, tmp_path):
    """Nothing is seen of it before it is whole, and what a killed one left goes when the next begins."""
    process, _ = begin(work, tmp_path / "out" / ".killed.0a1b", die=True)
    process.join(30)
    with work.beside(tmp_path / "out" / "new") as aside:
        (aside / "whole").write_text("whole")
        assert inside(tmp_path / "out") == [f"{aside.name}/whole"]
    assert inside(tmp_path) == ["out/new/whole"], "and no note of it"


def test_a_note_that_was_cut_short_removes_nothing(work, tmp_path):
    (tmp_path / "mine").mkdir()
    (work.root / ".elsewhere").mkdir(parents=True)
    for text in ("", str(tmp_path / "mine"), str(tmp_path)):
        (work.root / ".elsewhere" / "0a1b").write_text(text)
        work.sweep()
    assert (tmp_path / "mine").is_dir() and inside(work.root) == []


def test_work_goes_on_where_no_notes_can_be_kept(tmp_path):
    (tmp_path / "file").write_text("in the way")
    work = StagingArea(tmp_path / "file")
    with work.register(tmp_path / ".out.1"), atomic_folder(tmp_path / ".out.1", tmp_path / "out"):
        work.sweep()
    assert (tmp_path / "out").is_dir()
    with work.idle("anything") as idle:
        assert not idle, "what cannot be known is left alone"
