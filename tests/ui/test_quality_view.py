"""The quality tab without a browser: events folded into rows, limits on the server, and the rows as HTML."""

import threading
from dataclasses import replace
from html import unescape

import pytest

from quantlab.errors import BadInput, OutOfMemory
from quantlab.records import Model, QualityRun, TextFacts
from quantlab.records.events import (
    Loaded,
    Loading,
    Measured,
    Measuring,
    NotKept,
    QualityDone,
    QualityStarted,
    ReferenceMoved,
    Token,
)
from quantlab.settings import AppSettings
from quantlab.ui.common.runner import OUR_FAULT
from quantlab.ui.quality import fragments, runner, table
from quantlab.ui.quality.form import FIELDS, QualityChoice, check, from_inputs, settings, text
from quantlab.ui.quality.view import QualityView, Variant, fold, halt
from quantlab.ui.turns.turns import Turns
from tests.examples import example_load
from tests.fakes import Script, alone, services
from tests.quality_examples import quality, quality_run

LOCAL = AppSettings(public=False)
PUBLIC = AppSettings(public=True, max_seconds=0.5)
CHOICE = QualityChoice(precisions=("nf4", "fp32", "rtn-2"), windows=3)
FACTS = TextFacts("a text", "ab", 6_000, 2_550, 10, 512)
STARTED = QualityStarted(("fp32", "int8", "nf4"), "fp32", FACTS, Model("demo", "demo", None))


def folded(*events, view: QualityView | None = None, pace: float = 1.0) -> QualityView:
    """The view after the events, one every `pace` seconds from second 0."""
    view = view or QualityView()
    for second, event in enumerate(events):
        view = fold(view, event, pace * second)
    return view


def states(view: QualityView) -> list[str]:
    return [one.state for one in view.variants]


def run(choice=CHOICE, app=LOCAL, script=None, stop=None) -> list[QualityView]:
    given = services(script or Script(0.01, 0))
    return list(runner.views(choice, app, given, stop or threading.Event(), alone()))


def test_rows_go_through_their_states():
    seen = folded(Loading("", 3, 9, "model.safetensors"))
    assert seen.step.precision == "" and seen.variants == ()
    seen = folded(STARTED, view=seen)
    assert states(seen) == ["waiting"] * 3 and seen.step is None and seen.text == FACTS
    seen = folded(Loading("fp32", 1, 4, "x"), view=seen)
    assert states(seen) == ["loading", "waiting", "waiting"]
    seen = folded(Loaded("fp32", example_load("fp32")), Measuring("fp32", "text", 255, 2_550, "tokens", 9.0), view=seen)
    assert states(seen)[0] == "measuring" and seen.variants[0].load is not None and seen.step.left_s == 9.0
    seen = folded(Measured(quality_run("fp32", "fp32")), view=seen)
    assert states(seen)[0] == "done" and seen.step is None and len(seen.ended) == 1


def test_what_is_read_for_the_noise_floor_has_no_row_and_takes_no_ones_time():
    seen = fold(QualityView(), STARTED, 0)
    seen = fold(seen, Measured(quality_run("fp32", "fp32")), 4)
    seen = fold(seen, Loading("bf16", 0, 0, ""), 4)
    assert states(seen) == ["done", "waiting", "waiting"] and seen.step.precision == "bf16"
    seen = fold(seen, Loading("int8", 0, 0, ""), 20)
    seen = fold(seen, Measured(quality_run("int8", "fp32")), 22)
    assert [one.took_s for one in seen.variants] == [4, 2, None]


def test_the_time_left_follows_the_pace_of_what_has_ended():
    seen = fold(QualityView(), STARTED, 0)
    assert seen.left_s is None
    seen = fold(seen, Measured(quality_run("fp32", "fp32")), 10)
    assert seen.left_s == 20
    seen = replace(seen, at=14)
    assert seen.left_s == 16
    # It never promises less than the step at hand still takes.
    assert fold(replace(seen, at=30), Measuring("int8", "text", 1, 9, "tokens", 7.0), 30).left_s == 17
    assert halt(seen).left_s is None


def test_the_end_brings_every_run_also_those_not_seen():
    found = quality(("fp32", "int8", "nf4"), stopped="nf4")
    seen = folded(STARTED, QualityDone(found))
    assert states(seen) == ["done", "failed", "stopped"] and seen.quality is found
    assert halt(folded(STARTED)).quality is None and states(halt(folded(STARTED))) == ["stopped"] * 3


def test_an_event_of_the_other_job_is_a_defect():
    with pytest.raises(TypeError):
        folded(Token("fp32", 0, 1, "a"))


def test_a_run_ends_with_its_quality():
    last = run()[-1]
    assert last.problem is None and [r.precision for r in last.quality.runs] == ["nf4", "fp32", "rtn-2"]
    assert [one.precision for one in last.variants] == ["fp32", "nf4", "rtn-2"] and set(states(last)) == {"done"}
    assert last.text.windows == 3


def test_stop_keeps_what_is_finished():
    stop, seen = threading.Event(), None
    for seen in runner.views(CHOICE, LOCAL, services(Script(0.01, 0.05)), stop, alone()):
        if len(seen.ended) == 1:
            stop.set()
    assert states(seen)[0] == "done" and states(seen)[-1] == "stopped"
    assert seen.quality.run("fp32").fidelity is not None and seen.quality.run("rtn-2").stopped


def test_leaving_stops_the_work():
    script, stop, turns = Script(0.01, 0.05), threading.Event(), Turns()
    views = runner.views(CHOICE, LOCAL, services(script), stop, alone(turns))
    while "measuring" not in states(next(views)):
        pass
    views.close()
    with turns.enter("next", "quality") as turn:
        list(turn.places(threading.Event()))
        assert stop.is_set() and script.running == 0


def test_in_public_the_clock_stops_a_run():
    last = run(app=PUBLIC, script=Script(0.2, 0.2))[-1]
    assert "0.5 s" in last.notice and "stopped" in states(last)


def test_what_a_user_can_mend_is_said_and_the_rest_is_not(caplog):
    told = run(script=Script(0, 0, crash=OutOfMemory("too large", "Free some.")))[-1]
    assert (told.problem.what, told.problem.advice) == ("too large", "Free some.")
    hidden = run(script=Script(0, 0, crash=RuntimeError("/secret/path")))[-1]
    assert hidden.problem == OUR_FAULT and "/secret/path" not in repr(hidden) and "/secret/path" in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": ""}, "No model"),
        ({"model": "shape:bench-100m"}, "random weights"),
        ({"precisions": ()}, "No precision"),
        ({"precisions": ("nf4", "nf4")}, "named twice"),
        ({"precisions": tuple(f"p{i}" for i in range(7))}, "7 precisions"),
        ({"windows": 0}, "0 windows"),
        ({"windows": 401}, "401 windows"),
        ({"source": "/etc/passwd"}, "Unknown text"),
        ({"source": "paste"}, "is empty"),
        ({"source": "paste", "pasted": "too short"}, "one window takes"),
        ({"source": "paste", "pasted": "\ud800" * 600}, "half a character"),
        ({"source": "file"}, "No file was uploaded"),
        ({"more_tasks": "no_such_task"}, "Unknown task"),
    ],
)
def test_what_cannot_be_measured_is_a_problem_on_the_page(change, told):
    last = run(replace(CHOICE, **change))[-1]
    assert told in last.problem.what and last.quality is None


def test_an_upload_is_named_and_its_place_is_not(tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("\ufeff" + "some words of mine " * 400, "utf-8")
    choice = replace(CHOICE, source="file", file=str(file))
    assert run(choice)[-1].text.name == "own.txt" and text(choice).content.startswith("some")
    file.write_bytes(b"caf\xe9 " * 600)
    found = run(choice)[-1].problem
    assert "own.txt is not UTF-8" in found.what and str(tmp_path) not in repr(found)
    file.unlink()
    assert "cannot be read any more" in run(choice)[-1].problem.what


@pytest.mark.parametrize(
    "change",
    [
        {"model": "someone/else"},
        {"precisions": ("fp32", "someone/model-GPTQ")},
        {"precisions": ("fp32", "gptq-4-g32")},
        {"windows": 21},
        {"more_tasks": "hellaswag"},
        {"source": "paste", "pasted": "é" * 100_001},
    ],
)
def test_in_public_the_limits_hold_on_the_server(change):
    with pytest.raises(BadInput):
        check(replace(CHOICE, **change), PUBLIC)
    check(replace(CHOICE, **change), LOCAL)


def test_in_public_a_large_upload_is_refused(tmp_path):
    file = tmp_path / "large.txt"
    file.write_bytes(b"a" * 200_001)
    choice = replace(CHOICE, source="file", file=str(file))
    with pytest.raises(BadInput, match="200,001 bytes"):
        check(choice, PUBLIC)
    check(choice, LOCAL)


def test_the_inputs_become_a_choice_and_settings():
    values = dict.fromkeys(FIELDS, None) | {
        "model": " demo ", "precisions": ["nf4"], "source": "english", "windows": 7.0, "layers": 0,
        "noise_floor": False, "tasks": ["demo_facts"], "more_tasks": "hellaswag, demo_facts;arc_easy",
    }  # fmt: skip
    choice = from_inputs(*values.values())
    assert (choice.model, choice.windows, choice.layers) == ("demo", 7, False)
    found = settings(choice, LOCAL)
    assert found.tasks == ("demo_facts", "hellaswag", "arc_easy") and (found.windows, found.layers) == (7, False)
    assert not found.noise_floor and settings(replace(choice, noise_floor=True), LOCAL).noise_floor
    with pytest.raises(BadInput):
        from_inputs(*(values | {"windows": "many"}).values())


def test_the_table_names_the_reference_the_failures_and_the_floor():
    found = quality(("fp32", "int8", "nf4", "bf16"))
    html = table.render(folded(replace(STARTED, precisions=("fp32", "int8", "nf4", "bf16")), QualityDone(found)))
    assert html.count('class="badge"') == 1 and "by definition" in html
    assert "9.8 GB" in html and "Choose one with fewer bits." in html
    # bf16 lies in the noise floor, which is made of it; nf4 does not.
    assert html.count("within the noise floor") == 1 and "bf16 beside fp32" in html
    assert html.count("</tr>") == 6 and "McNemar's p" in unescape(html)


def test_the_table_has_its_rows_and_escapes_them_before_anything_is_known():
    html = table.render(QualityView((Variant("fp32"), Variant("<b>x</b>")), tasks=("<i>",)))
    assert html.count("<small>waiting</small>") == 2 and "known at the end" in html
    assert "<b>x" not in html and "<i>" not in html
    assert table.render(QualityView()) == ""


def test_a_perplexity_below_the_reference_is_called_noise():
    found = quality(("fp32", "nf4"), {})
    one = found.run("nf4")
    lucky = replace(one.fidelity, ppl=replace(one.fidelity.ppl, ratio=0.99, ratio_se=0.002))
    found = replace(found, runs=(found.run("fp32"), replace(one, fidelity=lucky)))
    assert "0.9900 ± 0.0020" in (html := table.render(folded(STARTED, QualityDone(found))))
    assert "below 1 is noise" in html


def test_the_status_tells_states_and_the_line_below_how_far():
    seen = folded(STARTED, Loading("fp32", 0, 0, ""), Measuring("fp32", "text", 255, 2_550, "tokens", 9.2))
    assert "fp32: reading the text. 0 of 3 done." in fragments.status(seen, running=True)
    line = fragments.progress(seen)
    assert "255 of 2,550 tokens" in line and "about 9 s left" in line and 'value="255"' in line
    later = fold(seen, Measuring("fp32", "text", 510, 2_550, "tokens", 8.2), 4)
    assert fragments.status(later, running=True) == fragments.status(seen, running=True)
    quantizing = fold(
        fold(seen, Measured(quality_run("fp32", "fp32")), 5),
        Loading("gptq-4", 3, 22, "layer 3 of 22, about 60 s left"),
        6,
    )
    assert fragments.progress(quantizing).count(" left") == 1
    floor = fold(seen, Measuring("bf16", "text", 0, 9, "tokens", None), 5)
    assert "bf16 for the noise floor" in fragments.status(floor, running=True)
    failed = folded(STARTED, Measured(QualityRun("int8", error="no")), QualityDone(quality(("fp32", "int8", "nf4"))))
    assert "2 of 3 are measured." in fragments.status(failed, running=False)


def test_a_row_that_is_timed_again_stays_as_it_was_but_for_its_speed():
    slow, fast = (replace(quality_run("fp32", "fp32"), decode_tokens_per_s=it) for it in (100.0, 200.0))
    seen = folded(STARTED, Measured(slow), *(Measured(quality_run(name, "fp32")) for name in STARTED.precisions[1:]))
    took = seen.variants[0].took_s
    again = fold(seen, Measuring("fp32", "again", 0, 2, "answers", None), 100)
    assert again.variants == seen.variants and again.left_s is None
    assert "fp32: timing again. 3 of 3 done." in fragments.status(again, running=True)
    assert "left" not in fragments.progress(again)
    ended = fold(again, Measured(fast), 101)
    assert ended.variants[0] == replace(seen.variants[0], run=fast) and ended.variants[0].took_s == took


def test_a_speed_has_its_spread_or_why_it_is_not_compared():
    found = quality(("fp32", "nf4"), {}, runs={"nf4": {"decode_samples": (373.0,), "decode_tokens_per_s": 373.0}})
    html = table.render(folded(STARTED, QualityDone(found)))
    assert "± 1 %<small>median of 3" in html and "only one answer was timed" in html
    assert "373 tok/s<small>not compared" in html


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "about 1 s"), (12, "about 12 s"), (43, "about 45 s"), (150, "about 2 min")]
)
def test_a_time_left_is_as_exact_as_it_can_be(seconds, told):
    assert fragments.duration(seconds) == told


def test_what_is_not_kept_is_said_with_the_status():
    view = fold(QualityView(), NotKept("The disk <is> full."), 0.0)
    assert "not kept in the history. The disk &lt;is&gt; full." in fragments.status(view, running=True)


def test_another_reference_is_said():
    view = fold(folded(STARTED), ReferenceMoved("int8", "fp32 <gave> no numbers."), 0.0)
    assert view.reference == "int8" and "fp32 &lt;gave&gt; no numbers." in fragments.status(view, running=True)
    row = next(row for row in table.render(view).split("<tr ")[1:] if "int8" in row)
    assert '<span class="badge">reference</span>' in row


def test_the_members_of_a_group_of_tasks_are_drawn():
    """The group's own name is nowhere among the figures, so that its chart was missing."""
    from dataclasses import replace

    from quantlab.reporting.charts import flips
    from quantlab.reporting.charts.registry import _answered
    from tests.quality_examples import quality

    shown = quality()
    asked = replace(shown, settings=replace(shown.settings, tasks=("a_group",)))
    assert _answered(asked) == tuple(shown.runs[0].tasks) != ()
    assert flips.figure(asked, _answered(asked)[-1]).data
