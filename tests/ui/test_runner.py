"""A visitor's run: limits, clock, stop, and errors in a visitor's words."""

import logging
import threading
import time
from dataclasses import replace

import pytest

from quantlab.errors import BadInput, QuantlabError
from quantlab.settings import AppSettings
from quantlab.ui.common import runner, stream
from quantlab.ui.common.stream import HEARTBEAT_S, INTERVAL_S, StopEvents, batches
from quantlab.ui.compare import runner as compare_runner
from quantlab.ui.compare.form import FIELDS, Choice, check, from_inputs, settings
from quantlab.ui.turns.turns import Place, Turns
from tests.fakes import Script, alone, services

LOCAL = AppSettings(public=False)
PUBLIC = AppSettings(public=True, max_seconds=0.5)
CHOICE = Choice(prompt="Hello there", precisions=("fp32", "nf4"))


def views(choice, app, script, stop, turns=None):
    return compare_runner.views(choice, app, services(script), stop, alone(turns))


def run(choice=CHOICE, app=LOCAL, script=None, stop=None):
    return list(views(choice, app, script or Script(0.01, 0), stop or threading.Event()))


def test_a_run_ends_with_its_comparison():
    last = run()[-1]
    assert last.comparison is not None and last.problem is None
    assert [column.state for column in last.columns] == ["done", "done"]


def test_a_screen_is_not_given_more_than_it_can_show():
    begun = time.monotonic()
    shown = run(script=Script(0.3, 0.004))
    assert len(shown) <= (time.monotonic() - begun) / INTERVAL_S + 4


def test_what_a_user_can_mend_is_said_and_the_rest_is_not(caplog):
    told = run(script=Script(0, 0, crash=QuantlabError("The repository is gated.", "Log in.")))[-1]
    assert (told.problem.what, told.problem.advice) == ("The repository is gated.", "Log in.")
    with caplog.at_level(logging.ERROR):
        hidden = run(script=Script(0, 0, crash=RuntimeError("/secret/path")))[-1]
    assert hidden.problem == runner.OUR_FAULT and "/secret/path" not in repr(hidden)
    assert "/secret/path" in caplog.text and "Traceback" in caplog.text


def test_stop_ends_a_run_and_keeps_what_was_written():
    stop, script = threading.Event(), Script(0, 0.02)
    seen = None
    for view in views(CHOICE, LOCAL, script, stop):
        seen = view
        if view.columns and view.columns[0].tokens > 3:
            stop.set()
    assert [column.state for column in seen.columns] == ["stopped", "stopped"]
    assert 3 < seen.columns[0].tokens < 64 and seen.columns[0].text and script.running == 0


def test_leaving_stops_the_model_before_anything_else_runs():
    script, stop, turns = Script(0, 0.02), threading.Event(), Turns()
    seen = views(CHOICE, LOCAL, script, stop, turns)
    while not (view := next(seen)).columns or view.columns[0].state != "writing":
        pass
    assert script.running == 1
    seen.close()
    with turns.enter("next", "compare") as turn:
        list(turn.places(threading.Event()))
        assert stop.is_set() and script.running == 0


def test_a_run_that_waits_tells_its_place_and_then_runs():
    turns, script = Turns(), Script(0, 0)
    other = turns.enter("other", "compare")
    seen = views(CHOICE, LOCAL, script, threading.Event(), turns)
    assert next(seen).place == Place(1, 1) and script.stops == []
    other.leave()
    after = list(seen)
    assert [view.place for view in after] == [None] * len(after) and after[-1].comparison is not None


def test_full_is_a_problem_of_the_run_at_once():
    turns, script = Turns(limit=1), Script(0, 0)
    with turns.enter("a", "compare"), turns.enter("b", "compare"):
        [last] = views(CHOICE, LOCAL, script, threading.Event(), turns)
    assert "no more are taken now" in last.problem.what and "Try again" in last.problem.advice and script.stops == []


def test_a_run_that_was_stopped_while_it_waited_does_not_begin():
    stop, script = threading.Event(), Script()
    stop.set()
    last = run(script=script, stop=stop)[-1]
    assert last.left and last.columns == () and script.stops == []


def test_in_public_the_clock_stops_a_run():
    begun = time.monotonic()
    last = run(app=PUBLIC, script=Script(0.1, 0.2))[-1]
    assert time.monotonic() - begun < 3
    assert "0.5 s" in last.notice and "stopped" in {column.state for column in last.columns}


def test_nothing_for_a_while_is_a_heartbeat():
    free = threading.Event()

    def events():
        free.wait(5)
        yield from ()

    ended = threading.Event()
    stream = batches(events, threading.Event(), ended.set)
    begun = time.monotonic()
    assert next(stream) == [] and HEARTBEAT_S / 2 < time.monotonic() - begun < 2
    assert not ended.is_set()
    free.set()
    assert list(stream) == [] and ended.is_set()


BAD = {
    "No model": replace(CHOICE, model=""),
    "No precision": replace(CHOICE, precisions=()),
    "named twice": replace(CHOICE, precisions=("nf4", "nf4")),
    "7 precisions": replace(CHOICE, precisions=tuple(f"p{i}" for i in range(7))),
    "prompt is empty": replace(CHOICE, prompt=" \n"),
    "prompt is too long": replace(CHOICE, prompt="x" * 200_001),
    "513 new tokens": replace(CHOICE, max_new_tokens=513),
    "0 new tokens": replace(CHOICE, max_new_tokens=0),
    "0 calibration samples": replace(CHOICE, calibration_samples=0),
    "windows of 8 tokens": replace(CHOICE, calibration_length=8),
    "no name of a kernel": replace(CHOICE, kernel="a b; rm"),
    "names no checkpoint": replace(CHOICE, precisions=("a/b::",)),
    "compute dtype 'int3'": replace(CHOICE, compute_dtype="int3"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_choice_beyond_the_limits_is_refused(what):
    script = Script(0, 0)
    last = run(BAD[what], script=script)[-1]
    assert what in last.problem.what and last.problem.advice and script.stops == []


@pytest.mark.parametrize("name", ["/etc", "../x", "gpt2", "shape:Llama-2-70B", "openai/gpt"])
def test_in_public_only_allowed_models_run(name):
    with pytest.raises(BadInput, match="Unknown model"):
        check(replace(CHOICE, model=name), PUBLIC)
    check(replace(CHOICE, model=PUBLIC.allowed_models[0]), PUBLIC)


def test_inputs_become_a_choice_field_for_field():
    values = {**CHOICE.__dict__, "top_k": 12.0, "seed": 3.0, "precisions": ["fp32", "nf4"]}
    found = from_inputs(*(values[name] for name in FIELDS))
    assert found == replace(CHOICE, top_k=12, seed=3)
    with pytest.raises(BadInput):
        from_inputs(*({**values, "seed": None}[name] for name in FIELDS))


def test_a_reference_that_is_not_ticked_is_left_to_be_found():
    assert settings(replace(CHOICE, reference="nf4"), LOCAL).reference == "nf4"
    assert settings(replace(CHOICE, reference="fp4"), LOCAL).reference is None
    assert settings(replace(CHOICE, compute_dtype="float16"), LOCAL).placement.compute_dtype == "float16"


def test_calibration_and_kernel_reach_the_settings(tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("Some words to calibrate with. " * 50)
    chosen = replace(CHOICE, calibration_samples=8, calibration_length=64, calibration_file=str(file), kernel="torch")
    found = settings(chosen, LOCAL)
    assert (found.calibration.samples, found.calibration.length, found.calibration.file) == (8, 64, file)
    assert found.placement.kernel == "torch" and settings(CHOICE, LOCAL).placement.kernel is None
    last = run(replace(chosen, calibration_file=str(tmp_path / "gone.txt")))[-1]
    assert last.problem is not None and last.comparison is None


@pytest.mark.parametrize(
    "change",
    [
        {"precisions": ("fp32", "someone/model-GPTQ")},
        {"precisions": ("fp32", "demo::rtn-3")},
        {"calibration_file": "/etc/hostname"},
        {"calibration_samples": 129},
        {"calibration_length": 2_049},
    ],
)
def test_in_public_nothing_of_a_visitor_is_read(change):
    with pytest.raises(BadInput):
        check(replace(CHOICE, **change), PUBLIC)
    check(replace(CHOICE, **change), LOCAL)


def test_a_published_checkpoint_has_a_column_and_can_be_the_reference():
    chosen = replace(CHOICE, precisions=("fp32", "someone/demo-GPTQ"), reference="demo-GPTQ")
    assert chosen.columns == ("fp32", "demo-GPTQ")
    last = run(chosen)[-1]
    assert [column.precision for column in last.columns] == ["demo-GPTQ", "fp32"] and last.reference == "demo-GPTQ"


def test_each_session_has_its_own_stop():
    stops = StopEvents()
    one, other = stops.begin("one"), stops.begin("other")
    assert stops.stop("one") and one.is_set() and not other.is_set() and not stops.stop("nobody")
    again = stops.begin("other")
    assert other.is_set() and not again.is_set() and stops.replaced(other) and not stops.replaced(again)
    assert stops.of("other") is again
    once_more = stops.begin("other")
    assert again.is_set() and stops.replaced(again) and not once_more.is_set()


def test_a_program_s_runs_side_by_side_end_one_by_one_and_stop_together():
    stops = StopEvents()
    first, second, third = (stops.of("program") for _ in range(3))
    stops.end("program", first)
    assert stops.stop("program") and second.is_set() and third.is_set() and not first.is_set()
    stops.end("program", second)
    stops.end("program", third)
    assert not stops.stop("program")


def test_sessions_that_never_run_anything_are_forgotten(monkeypatch):
    monkeypatch.setattr(stream, "_SESSIONS", 3)
    stops = StopEvents()
    events = [stops.begin(str(number)) for number in range(5)]
    assert [event.is_set() for event in events] == [True, True, False, False, False]
    assert not stops.stop("0") and stops.stop("4") and events[4].is_set()
