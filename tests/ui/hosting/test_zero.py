"""A ZeroGPU Space with the real package `spaces`: residents, seconds asked for, whose quota, refusals, pickles."""

import base64
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio_client import Client

from quantlab.errors import Unavailable
from quantlab.records import ComparisonRequest, QualityRequest, QualitySettings, Settings, Text
from quantlab.records.events import Finished, Loaded
from quantlab.settings import AppSettings
from quantlab.ui.compare import runner as compare_runner
from quantlab.ui.compare.form import DEFAULT_TICKS, Choice
from quantlab.ui.hosting import zero
from quantlab.ui.hosting.lent import LEAST_S, LOAD_S, MOST_S, Pace
from tests.fakes import Script, alone, services
from tests.ui.hosting.asking import ask, finished
from tests.ui.hosting.device_api import DeviceApi, device_api, of_space
from tests.ui.hosting.running import Server, running

ROOT = Path(__file__).parents[3]
ASKED = ComparisonRequest("demo", ("fp32", "nf4"), "Once upon a time", Settings(max_new_tokens=8))
LOCAL = AppSettings(public=False)
TEXT = Text("a text", "It rained . " * 400, "")


# The seconds that are asked for


def test_little_is_asked_for_little_and_never_more_than_a_minute():
    pace = Pace({("demo", "fp32"), ("demo", "nf4")})
    assert pace.seconds(ASKED) == LEAST_S == 10
    long = replace(ASKED, settings=Settings(max_new_tokens=512))
    assert LEAST_S < pace.seconds(long) <= MOST_S == 60
    assert pace.seconds(replace(long, precisions=tuple(DEFAULT_TICKS))) == MOST_S


def test_what_is_resident_needs_no_time_to_load():
    three = replace(ASKED, precisions=("fp32", "nf4", "int8"))
    none, all_of_them = Pace(), Pace({("demo", name) for name in three.precisions})
    saved = none.seconds(three) - all_of_them.seconds(three)
    assert 0 < saved <= 3 * LOAD_S
    other = replace(three, model="smollm2")
    assert all_of_them.seconds(other) == none.seconds(other)


def test_it_learns_from_what_ran():
    pace, three = Pace(), replace(ASKED, precisions=("fp32", "nf4", "int8"), settings=Settings(max_new_tokens=64))
    before = pace.seconds(three)
    for event in services(Script(0, 0)).compare(three):
        if isinstance(event, Loaded):
            event = replace(event, load=replace(event.load, load_s=0.5, load_origin="built"))
        if isinstance(event, Finished) and event.run.timing is not None:
            event = Finished(replace(event.run, timing=replace(event.run.timing, itl_s=(0.001, 0.002))))
        pace.saw(event)
    assert LEAST_S <= pace.seconds(three) < before


def test_quality_is_asked_for_by_its_windows_and_tasks_take_all_there_is():
    few, many = (
        QualityRequest("demo", DEFAULT_TICKS, TEXT, QualitySettings(windows=windows)) for windows in (1, 1_000)
    )
    pace = Pace({("demo", name) for name in DEFAULT_TICKS})
    assert LEAST_S <= pace.seconds(few) < pace.seconds(many) == MOST_S
    assert pace.seconds(replace(few, settings=QualitySettings(windows=1, tasks=("stories",)))) == MOST_S


# What goes to the worker and back


@pytest.mark.parametrize("kind", ["comparison", "quality"])
def test_requests_and_events_are_the_same_once_pickled(kind):
    job, asked = (
        (services(Script(0, 0)).compare, ASKED)
        if kind == "comparison"
        else (services(Script(0, 0)).quality, QualityRequest("demo", ("fp32", "nf4"), TEXT))
    )
    events = [asked, *job(asked)]
    assert len(events) > 6 and [pickle.loads(pickle.dumps(event)) for event in events] == events


def test_a_run_whose_time_on_the_gpu_is_over_says_so(monkeypatch):
    lent = SimpleNamespace(GPU=lambda duration: lambda job: job)
    monkeypatch.setitem(sys.modules, "spaces", lent)
    monkeypatch.setattr(zero, "_SPARE_S", LEAST_S - 0.2)
    job = zero.on_lent_gpu(services(Script(0, 0.05)).compare, AppSettings(zero_gpu=True))
    few, many = (
        list(compare_runner.views(Choice(prompt="Hello", precisions=("fp32", "nf4"), max_new_tokens=count), LOCAL,
             replace(services(), compare=job), threading.Event(), alone()))
        for count in (1, 60)
    )  # fmt: skip
    assert few[-1].notice == "" and many[-1].notice.startswith("Cut short: the GPU was lent for no longer.")
    assert many[-1].comparison is not None


# Refusals


@pytest.mark.parametrize(
    ("title", "said", "told"),
    [
        ("ZeroGPU quota exceeded", "You have exceeded your free ZeroGPU quota (10s requested vs. 3s left).", "3s left"),
        ("ZeroGPU illegal duration", "The requested GPU duration (60s) is larger than the maximum allowed", "larger"),
        ("ZeroGPU queue timeout", "No GPU was available after 60s. [Join](https://x.y) to wait less", "Join (https://"),
        ("ZeroGPU worker error", "GPU task aborted", "taken back before the run was done"),
        ("ZeroGPU client error", "No GPU was available", "No GPU is free"),
    ],
)
def test_refusals_are_told_in_words(title, said, told):
    found = zero.in_words(gr.Error(said, title=title), 25)
    assert isinstance(found, Unavailable) and told in str(found)
    assert ("25 s" in found.advice or "Try again" in found.advice) and ".." not in str(found)


def test_a_fault_in_the_worker_stays_a_defect():
    assert not isinstance(zero.in_words(gr.Error("KeyError", title="ZeroGPU worker error"), 10), Unavailable)


# A Space


@pytest.mark.slow
def test_the_default_columns_of_smollm2_are_resident(spaces_package, tmp_path):
    with device_api() as api:
        done = subprocess.run(
            [sys.executable, "-m", "tests.ui.hosting.zero_space", "residents"],
            cwd=ROOT,
            env=os.environ | of_space(api, tmp_path, ROOT, spaces_package, HF_HUB_OFFLINE="1"),
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["residents"] == sorted(["smollm2", name] for name in DEFAULT_TICKS), done.stderr[-3_000:]
    # Four bytes a weight at least, of 134,515,008, and all of it is what `spaces` moves to a GPU that is lent.
    assert found["bytes"] == found["packed"] > 4 * 134_515_008


@pytest.fixture(scope="module")
def api() -> Iterator[DeviceApi]:
    with device_api() as found:
        yield found


@pytest.fixture(scope="module")
def space(api, spaces_package, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("space")
    more = of_space(
        api,
        folder,
        ROOT,
        spaces_package,
        QUANTLAB_DEVICE="cpu",
        QUANTLAB_ALLOWED_MODELS="demo",
        QUANTLAB_MAX_COLUMNS="2",
    )
    with running([sys.executable, "-m", "tests.ui.hosting.zero_space"], ROOT, folder / "log", **more) as server:
        yield server


def asked_of(server: Server, headers: dict[str, str] | None = None, **changes: object) -> str:
    return ask(Client(server.url, verbose=False, download_files=False, headers=headers or {}), **changes)


@pytest.mark.slow
def test_a_comparison_runs_in_a_lent_worker_on_the_visitors_quota(space, api):
    payload = base64.urlsafe_b64encode(b"{}").decode().rstrip("=")
    found = asked_of(space, {"X-IP-Token": f"a.{payload}.b"})
    assert finished(found) == 2, space.said()[-3_000:]
    asked = api.scheduled[-1]
    assert LEAST_S <= int(asked["durationSeconds"]) <= MOST_S and asked["cgroupPath"] == "/space"
    assert asked["token"] == f"a.{payload}.b"
    assert len(api.released) == len(api.scheduled) and "Traceback" not in space.said()


@pytest.mark.slow
def test_an_error_of_a_column_comes_back_in_its_words(space):
    found = asked_of(space, prompt="word " * 1_100)
    assert "tokens" in found and "ZeroGPU" not in found and "went wrong on our side" not in found


@pytest.mark.slow
def test_a_quota_that_is_used_up_is_told_in_words(space, api):
    api.refuse = {"left": 3, "wait": 3600.0}
    try:
        found = asked_of(space, {"X-IP-Token": "a.e30.b"}, prompt="What nobody has asked before")
    finally:
        api.refuse = None
    assert "ZeroGPU lends you no GPU now" in found and "3s left" in found and "fewer precisions" in found
    assert "Traceback" not in space.said()
