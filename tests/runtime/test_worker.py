"""Work in a process of its own: its progress, its errors, its end."""

import errno
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from quantlab.errors import BadInput, ModelError, OutOfMemory, Stopped, Unavailable
from quantlab.methods import METHODS
from quantlab.records import silent
from quantlab.runtime import disk, worker

HERE = "tests.runtime.test_worker"


def count(progress, to: int, file: str) -> None:
    for done in range(to):
        progress(done, to, f"step {done}")
    Path(file).write_text(f"{to} {os.environ.get('EXTRA')}")
    Path("left-behind.log").touch()
    print("a banner")
    print("a warning", file=sys.stderr)


def wait(progress, file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)


def refuse(progress, kind: str) -> None:
    errors = {
        "bad": BadInput("what happened", "what to do"),
        "stopped": Stopped(),
        "memory": MemoryError(),
        "mapping": OSError(12, "Cannot allocate memory"),
        "disk": OSError(28, "No space left on device", "weights"),
        "missing": FileNotFoundError(2, "No such file", "weights"),
        "defect": ZeroDivisionError("by zero"),
    }
    raise errors[kind]


def tell_score(progress, file: str) -> None:
    Path(file).write_text(Path("/proc/self/oom_score_adj").read_text())


def die(progress, number: int) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), number)


def test_a_task_gets_its_arguments_and_tells_its_progress_and_the_terminal_nothing(tmp_path, capfd):
    told = []
    file = tmp_path / "done"
    worker.run(f"{HERE}:count", {"to": 30, "file": str(file)}, lambda *step: told.append(step), {"EXTRA": "set"})
    assert file.read_text() == "30 set"
    assert not Path("left-behind.log").exists(), "what a library leaves where it stands goes with it"
    steps = [step for step in told if step[1]]
    assert [done for done, _, _ in steps] == list(range(30)) and {total for _, total, _ in steps} == {30}
    assert steps[0][2] == "step 0" and "step 15, about 0 s left" in [what for _, _, what in steps]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "raised", "says"),
    [
        ("bad", BadInput, "what happened what to do"),
        ("stopped", Stopped, "Stopped"),
        ("memory", OutOfMemory, "memory ran out"),
        ("mapping", OutOfMemory, "memory ran out"),
        ("disk", Unavailable, r"disk is full \(weights\)"),
        ("missing", ModelError, "No such file"),
    ],
)
def test_an_error_for_the_user_arrives_as_it_was_raised(kind, raised, says):
    with pytest.raises(raised, match=says) as error:
        worker.run(f"{HERE}:refuse", {"kind": kind}, silent)
    assert type(error.value) is raised


def test_a_defect_stays_loud_and_its_traceback_goes_to_the_log(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError, match="ZeroDivisionError: by zero"):
        worker.run(f"{HERE}:refuse", {"kind": "defect"}, silent)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "number", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), errno.ENOSPC, "The disk is full (/x)"),
        (Exception("No space left on device (os error 28)"), errno.ENOSPC, "The disk is full."),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), errno.ENOSPC, "The disk is full."),
        (RuntimeError("I/O error: File too large (os error 27)"), errno.EFBIG, "larger than the system allows"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), errno.ENOMEM, "The memory ran out."),
        (Exception("Cannot allocate memory (os error 12)"), errno.ENOMEM, "The memory ran out."),
        (OSError(errno.EACCES, "Permission denied", "/x"), errno.EACCES, "Permission denied"),
        (RuntimeError("a shape (os error 2)"), None, "a shape"),
        (ValueError("28"), None, "28"),
    ],
)
def test_errors_of_the_disk_are_known_by_their_number_wherever_it_stands(error, number, says):
    assert disk.disk_errno(error) == number and says in str(disk.disk_error(error))


def test_a_process_that_the_system_ends_is_out_of_memory():
    with pytest.raises(OutOfMemory, match="for want of memory"):
        worker.run(f"{HERE}:die", {"number": signal.SIGKILL}, silent)


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="only Linux tells")
def test_where_memory_ends_the_worker_goes_before_whoever_waits_for_it(tmp_path):
    worker.run(f"{HERE}:tell_score", {"file": str(tmp_path / "score")}, silent)
    assert int((tmp_path / "score").read_text()) == 1_000 > int(Path("/proc/self/oom_score_adj").read_text())


def test_a_process_that_crashes_takes_nothing_with_it():
    with pytest.raises(RuntimeError, match="last words"):
        worker.run(f"{HERE}:die", {"number": signal.SIGABRT}, silent)


def test_stopping_ends_the_process_at_once(tmp_path):
    file = tmp_path / "pid"

    def stop(_done: int, _total: int, _what: str) -> None:
        if file.exists() and file.read_text():
            raise Stopped

    begun = time.monotonic()
    with pytest.raises(Stopped):
        worker.run(f"{HERE}:wait", {"file": str(file)}, stop)
    assert time.monotonic() - begun < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def _be_parent(file: str) -> None:
    worker.run(f"{HERE}:wait", {"file": file}, silent)


def test_a_worker_ends_with_its_parent_also_where_that_was_killed(tmp_path):
    file = tmp_path / "pid"
    parent = multiprocessing.get_context("spawn").Process(target=_be_parent, args=(str(file),))
    parent.start()
    until(lambda: file.exists() and file.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.join(30)
    until(lambda: not alive(int(file.read_text())))


def until(happened, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended may wait for ever for a parent in a container to ask for its code."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_forecast_is_in_seconds_and_then_in_minutes():
    assert worker._time_left(1, 100, 1.0) == "", "too early to tell"
    assert worker._time_left(1, 4, 10.0) == ", about 30 s left"
    assert worker._time_left(1, 4, 100.0) == ", about 5 min left"
    assert worker._time_left(4, 4, 100.0) == worker._time_left(0, 0, 5.0) == ""


@pytest.mark.parametrize("name", [method.name for method in METHODS.values() if method.kept])
def test_where_no_worker_can_be_had_it_is_said_and_the_others_go_on(monkeypatch, name):
    monkeypatch.setattr("os.name", "nt")
    method = METHODS[name]
    reason = method.unavailable("cpu")
    assert reason is not None and (reason.startswith("needs Linux or macOS") or "needs the package" in reason)
    assert METHODS["dense"].unavailable("cpu") is None and METHODS["rtn"].unavailable("cpu") is None
