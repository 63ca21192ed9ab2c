"""What an actor does, without Ray around it: one column with what it is given of the reference."""

import threading
import time

import numpy as np
import pytest
import torch

from quantlab import models
from quantlab.fidelity.texts import text
from quantlab.records import ComparisonRequest, Placement, QualityRequest, QualitySettings, Settings
from quantlab.records.events import Loading, Token
from quantlab.runs.cluster.column import Begun, Column, Ended, HeldRows, Shared, Task, work
from quantlab.runs.compare import variant_cache
from quantlab.runs.recorded import recorded_compare
from quantlab.runtime.background import result
from quantlab.settings import app_settings
from tests import tiny

SETTINGS = Settings(4, placement=Placement("cpu", "float32"), reference="fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("models"), "llama").folder)


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    variant_cache().drop_unused()


def a_task(folder: str, column: str, identity: str | None = None) -> Task:
    names = tuple(dict.fromkeys(("fp32", column)))
    known = models.resolve(folder, app_settings()).identity
    return Task(ComparisonRequest(folder, names, "Once upon", SETTINGS), names, column, identity or known)


def test_two_columns_one_after_the_other_are_the_comparison(folder):
    whole = ComparisonRequest(folder, ("fp32", "rtn-4"), "Once upon", SETTINGS)
    here = list(recorded_compare(None, whole))[-1].comparison
    told: list = []
    reference = result(work(a_task(folder, "fp32"), Shared(), threading.Event()), told.append)
    other = result(work(a_task(folder, "rtn-4"), reference.shared, threading.Event()), told.append)
    assert {it.precision for it in told} == {"fp32", "rtn-4"}, "what is fetched is told of the column"
    for ended, theirs in zip((reference, other), here.runs, strict=True):
        assert (ended.run.text, ended.run.first_divergence) == (theirs.text, theirs.first_divergence)
        assert ended.run.differences == theirs.differences
    assert other.run.differences and other.shared == Shared()


def test_other_files_than_where_it_was_asked_for_are_refused(folder):
    ended = result(work(a_task(folder, "fp32", "f" * 32), Shared(), threading.Event()))
    assert "on this node are others than where it was asked for" in ended.run.error


def test_whatever_goes_wrong_is_the_run_of_the_column(folder, tmp_path, monkeypatch):
    def breaking(*_arguments):
        raise ZeroDivisionError

    ended = result(work(a_task(folder, "rtn-5x", "x"), Shared(), threading.Event()))
    assert "Unknown precision" in ended.run.error
    monkeypatch.setattr("quantlab.runs.cluster.column.plan", breaking)
    assert "ZeroDivisionError" in result(work(a_task(folder, "fp32"), Shared(), threading.Event())).run.error
    monkeypatch.undo()
    stop = threading.Event()
    stop.set()
    stopped = result(work(a_task(folder, "fp32"), Shared(), stop)).run
    assert stopped.stopped and not stopped.error


def test_without_the_reference_s_rows_a_column_says_so():
    settings = QualitySettings(windows=1, layers=False, new_tokens=3, reference="fp32", placement=SETTINGS.placement)
    request = QualityRequest("demo", ("fp32", "rtn-4"), text("demo"), settings)
    identity = models.resolve("demo", app_settings()).identity
    ended = result(work(Task(request, ("fp32", "rtn-4"), "rtn-4", identity), Shared(), threading.Event()))
    assert ended.run.fidelity is None and "no figures of fidelity" in ended.run.notes[-1] and not ended.run.error


def test_the_actor_is_asked_again_and_again_for_what_is_new(folder, monkeypatch):
    monkeypatch.setattr("quantlab.runs.cluster.column._node_id", lambda: "here")
    column, told = Column(), []
    (begun,) = column.begin(a_task(folder, "fp32"), None)
    assert isinstance(begun, Begun) and begun.node == "here"
    deadline = time.monotonic() + 120
    while not any(isinstance(it, Ended) for it in told):
        assert time.monotonic() < deadline
        told += column.more()
    assert isinstance(told[0], Loading) and len([it for it in told if isinstance(it, Token)]) == 4
    assert column.more() == []


def test_rows_in_memory_are_the_rows():
    held = np.arange(12, dtype=np.float32).reshape(4, 3)
    held.flags.writeable = False  # as the object store gives them
    rows = HeldRows.of(held)
    assert (rows.tokens, rows.vocabulary) == (4, 3) and torch.equal(rows.block(1, 2), torch.tensor(held[1:3]))
