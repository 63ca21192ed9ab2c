"""What was answered before needs no turn: kept whole, within its bytes, and only for the very same question."""

import threading
from dataclasses import replace

import pytest

from quantlab.records import Calibration, ComparisonRequest, Placement, Settings
from quantlab.records.events import Done, Loading
from quantlab.runs.recorded import recorded_compare
from quantlab.settings import AppSettings
from quantlab.ui.common.runner import Queueing
from quantlab.ui.compare import runner
from quantlab.ui.compare.form import Choice
from quantlab.ui.turns.replays import Replays
from quantlab.ui.turns.taking import Visitor
from quantlab.ui.turns.turns import Turns
from tests import tiny
from tests.fakes import services

LOCAL = AppSettings(public=False)
SETTINGS = Settings(max_new_tokens=4, placement=Placement("cpu", "float32"))


class Job:
    """The real job without a history, counting."""

    def __init__(self):
        self.ran = 0

    def __call__(self, request, *, stop=None, fresh=False):
        self.ran += 1
        yield from recorded_compare(None, request, stop=stop, fresh=fresh)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("models"), "llama").folder)


@pytest.fixture
def job() -> Job:
    return Job()


def asked(folder, **change) -> ComparisonRequest:
    return replace(ComparisonRequest(folder, ("fp32", "rtn-4"), "Once upon a time", SETTINGS), **change)


def ran(replays, job, request, **how) -> Done:
    return list(replays.keeping(job)(request, **how))[-1]


def test_the_same_question_is_answered_without_a_run(folder, job):
    replays = Replays(LOCAL)
    first = ran(replays, job, asked(folder))
    events = list(replays.answered(asked(folder))())
    assert events[-1] == Done(first.comparison, replayed=True) and not any(isinstance(it, Loading) for it in events)
    assert ran(replays, job, asked(folder)).replayed and job.ran == 1, "also one that has its turn already"
    assert not ran(replays, job, asked(folder), fresh=True).replayed and job.ran == 2


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Once upon a day"},
        {"precisions": ("rtn-4", "fp32")},
        {"settings": replace(SETTINGS, max_new_tokens=5)},
        {"settings": replace(SETTINGS, reference="rtn-4")},
        {"settings": replace(SETTINGS, raw=True)},
        {"settings": replace(SETTINGS, calibration=Calibration(samples=7))},
    ],
)
def test_another_question_is_not(folder, job, change):
    replays = Replays(LOCAL)
    ran(replays, job, asked(folder))
    assert replays.answered(asked(folder, **change))() is None


@pytest.mark.parametrize("change", [{"sample": True}, {"race": True}])
def test_drawn_and_raced_answers_are_not_kept(folder, job, change):
    replays, request = Replays(LOCAL), asked(folder, settings=replace(SETTINGS, **change))
    assert ran(replays, job, request) and replays.nbytes == 0 and replays.answered(request)() is None


def test_what_was_stopped_or_failed_is_not_kept(folder):
    replays, stop = Replays(LOCAL), threading.Event()
    stop.set()
    whole = list(recorded_compare(None, asked(folder)))[-1].comparison
    for run in (replace(whole.runs[1], stopped=True), replace(whole.runs[1], error="it broke")):
        replays.keep(asked(folder), replace(whole, runs=(whole.runs[0], run)))
        assert replays.nbytes == 0
    replays.keep(asked(folder), whole)
    assert replays.nbytes > 0


def test_files_that_changed_are_another_model(tmp_path, job):
    written = tiny.write(tmp_path, "llama").folder
    replays, request = Replays(LOCAL), asked(str(written))
    ran(replays, job, request)
    look = replays.answered(request)
    assert look() is not None
    weights = written / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(bytes(content))
    assert look() is None and replays.nbytes == 0, "and what is of no use takes no room"
    ran(replays, job, request)
    weights.unlink()
    assert look() is None


def test_the_memory_is_bounded_and_the_longest_unasked_goes(folder):
    whole = list(recorded_compare(None, asked(folder)))[-1].comparison
    one = Replays(LOCAL)
    one.keep(asked(folder), whole)
    replays = Replays(LOCAL.model_copy(update={"replay_bytes": int(3.5 * one.nbytes)}))
    for number in range(3):
        replays.keep(asked(folder, prompt=f"{number}"), whole)
    assert replays.answered(asked(folder, prompt="0"))() is not None
    replays.keep(asked(folder, prompt="3"), whole)
    there = [replays.answered(asked(folder, prompt=f"{number}"))() is not None for number in range(4)]
    assert there == [True, False, True, True] and replays.nbytes == 3 * one.nbytes
    none = Replays(LOCAL.model_copy(update={"replay_bytes": 0}))
    none.keep(asked(folder), whole)
    assert none.nbytes == 0 and none.answered(asked(folder))() is None


def test_whoever_waits_for_an_answer_that_comes_meanwhile_waits_no_longer(folder, job):
    turns, replays = Turns(), Replays(LOCAL)
    given = replace(services(), compare=replays.keeping(job), answered=replays.answered)
    chosen = Choice(folder, ("fp32", "rtn-4"), "Hello", max_new_tokens=4)
    with turns.enter("somebody", "compare"):
        views = runner.views(chosen, LOCAL, given, threading.Event(), Queueing(turns, Visitor("one")))
        assert next(views).place is not None
        request = ComparisonRequest(folder, chosen.precisions, "Hello", runner.choices.settings(chosen, LOCAL))
        ran(replays, job, request)
        last = list(views)[-1]
        assert last.replayed and last.comparison.runs and job.ran == 1 and turns.traffic().waiting == 0
        again = list(runner.views(chosen, LOCAL, given, threading.Event(), Queueing(turns, Visitor("two"))))
        assert again[-1].replayed and all(view.place is None for view in again)
