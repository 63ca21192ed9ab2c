"""Work in a thread behind a generator: its result, its error, its end."""

import threading
import time

import pytest

from quantlab.errors import Stopped
from quantlab.runtime.background import in_background


def finish(work) -> tuple[list[tuple[int, int, str]], object]:
    """All the progress told, and the result."""
    told = []
    while True:
        try:
            told.append(next(work))
        except StopIteration as end:
            return told, end.value


def loads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "quantlab-load"]


def endless(progress) -> None:
    """Work that only `progress` ends. The deadline keeps a broken test from running for ever."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        progress(0, 0, "still at it")
        time.sleep(0.005)
    raise AssertionError("nobody stopped this")


def test_the_result_comes_back_and_the_last_step_is_always_told():
    def job(progress) -> str:
        for done in range(101):
            progress(done, 100, f"tensor {done}")
        return "loaded"

    told, result = finish(in_background(job, threading.Event()))
    assert result == "loaded"
    assert told[0] == (0, 100, "tensor 0") and told[-1] == (100, 100, "tensor 100")
    assert len(told) < 50, "nobody reads a hundred steps in a millisecond"
    assert loads() == []


def test_work_without_progress_gives_its_result_alone():
    assert finish(in_background(lambda progress: None, threading.Event())) == ([], None)


def test_an_error_is_raised_where_the_work_was_asked_for():
    def job(progress) -> None:
        progress(0, 1, "")
        raise KeyError("lost")

    work = in_background(job, threading.Event())
    assert next(work) == (0, 1, "")
    with pytest.raises(KeyError, match="lost"):
        next(work)
    assert loads() == []


def test_setting_stop_ends_the_work():
    stop = threading.Event()
    work = in_background(endless, stop)
    next(work)
    assert len(loads()) == 1
    stop.set()
    with pytest.raises(Stopped):
        for _ in work:
            pass
    assert loads() == []


def test_stop_set_beforehand_ends_it_at_its_first_step():
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        next(in_background(endless, stop))
    assert loads() == []


def test_closing_the_generator_ends_the_thread():
    reached = []

    def job(progress) -> None:
        try:
            endless(progress)
        except Stopped:
            reached.append("stopped")
            raise

    work = in_background(job, threading.Event())
    next(work)
    work.close()
    assert reached == ["stopped"] and loads() == []


def test_nothing_runs_before_the_first_step_is_asked_for():
    work = in_background(endless, threading.Event())
    assert loads() == []
    work.close()
