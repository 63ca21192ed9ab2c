"""Events folded into columns."""

import pytest

from quantlab.records import Model, Run, Settings
from quantlab.records.events import Finished, NotKept, ReferenceMoved, Started, TriedAgain
from quantlab.ui.common import fragments
from quantlab.ui.common.problem import Problem
from quantlab.ui.compare.view import View, fold, halt
from tests.fakes import Script, fake_compare


def events(*precisions: str, failing: tuple[str, ...] = ()):
    return fake_compare("demo", precisions, "Hello there", Settings(), script=Script(0, 0, failing))


def folded(found, view: View | None = None) -> View:
    view = view or View()
    for event in found:
        view = fold(view, event)
    return view


def test_a_whole_comparison_ends_with_every_column_done():
    view = folded(events("fp32", "nf4"))
    assert [(c.precision, c.state, c.tokens) for c in view.columns] == [("fp32", "done", 64), ("nf4", "done", 60)]
    assert view.reference == "fp32" and view.reference_run.text.startswith("Mira Toll")
    assert view.comparison.run("nf4").first_divergence.index == 41


def test_columns_pass_through_their_states_in_order():
    view, seen = View(), []
    for event in events("fp32", "nf4"):
        view = fold(view, event)
        states = tuple(column.state for column in view.columns)
        if not seen or seen[-1] != states:
            seen.append(states)
    first = ["waiting", "loading", "warming", "writing", "timing", "done"]
    assert seen == [(s, "waiting") for s in first] + [("done", s) for s in first[1:]]


def test_a_failed_variant_leaves_the_others_alone():
    view = folded(events("fp32", "nf4", "fp4", failing=("nf4",)))
    assert [column.state for column in view.columns] == ["done", "failed", "done"]
    assert "does not fit" in view.columns[1].run.error


def test_a_failed_reference_is_no_reference_run():
    assert folded(events("fp32", "nf4", failing=("fp32",))).reference_run is None


def test_halting_stops_what_has_not_ended_and_keeps_the_rest():
    view = fold(View(), Started(("fp32", "nf4"), "fp32", (1,), ("a",), Model("demo", "demo", None)))
    view = fold(view, Finished(Run("fp32", text="hi", token_ids=(1,), tokens=("hi",))))
    ended = halt(view, Problem("no", "try"))
    assert [column.state for column in ended.columns] == ["done", "stopped"]
    assert ended.problem == Problem("no", "try") and ended.columns[0].text == "hi"


def test_what_was_known_before_the_start_is_kept():
    view = View(notice="n", model=Model("shape:bench-100m", "shape", None))
    assert view.meaningless and folded(events("fp32"), view).notice == "n"


def test_an_unknown_event_is_loud():
    with pytest.raises(TypeError, match="unknown event"):
        fold(View(), object())


def test_what_is_not_kept_is_said_with_the_status():
    view = fold(View(), NotKept("The disk <is> full."))
    assert "not kept in the history. The disk &lt;is&gt; full." in fragments.status(view, running=True)


def test_another_reference_is_said():
    view = fold(View(reference="fp16"), ReferenceMoved("bf16", "fp16 <gave> no numbers."))
    assert view.reference == "bf16" and "fp16 &lt;gave&gt; no numbers." in fragments.status(view, running=True)


def test_that_a_column_is_tried_again_is_said():
    view = fold(View(reference="fp32"), TriedAgain("nf4", "nf4 is tried <again>."))
    assert view.reference == "fp32" and "nf4 is tried &lt;again&gt;." in fragments.status(view, running=True)
