"""The claims about fine-tuning: verdicts from plans, trainings and merges, and that these are really made."""

import threading
from dataclasses import replace

import pytest

from quantlab.errors import Stopped, Unavailable
from quantlab.fidelity import tasks
from quantlab.records import Finetuned, TaskScore
from quantlab.records.claims import FAILS, HOLDS, UNTESTED
from quantlab.runtime.background import result
from quantlab.settings import app_settings
from quantlab.teach.claims import measuring, training
from quantlab.teach.claims.evidence import SEVEN, Evidence, Merges, Training
from tests.quality_examples import fidelity, quality_run
from tests.teach.test_claims import measured, planned, verdict

ADDED = {"adapters": 1_000, "gradients": 1_000, "optimizer": 2_000}
TASK = "demo_newcomers"
#: Of each way of merging: mean KLD and the share of right answers. As they stand, merging changes nothing.
SAME = {name: (5e-5, 1.0) for name in ("original", "original_again", "kept", "kept_again")}


def ran(**parts: int) -> Training:
    """A training as planned, but for these parts."""
    planned = Finetuned("qlora", "nf4-dq", 16, ("q_proj", "v_proj"), 250, {"weights": 9_000, "activations": 0} | ADDED)
    return Training("demo", 3, 250, 10_000, {"base": 9_500, "activations": 7_000} | ADDED | parts, planned)


def merges(right: float = 1.0, **changed: tuple[float, float]) -> Evidence:
    plain = quality_run("nf4", "fp32")

    def run(kld: float, acc: float):
        return replace(plain, fidelity=fidelity(kld), tasks={TASK: TaskScore(96, acc, 0.0, None, None)})

    ways = {name: run(*figures) for name, figures in (SAME | changed).items()}
    return Evidence(merges=Merges("demo", "nf4-dq", 300, TASK, run(0.0, right), **ways))


@pytest.mark.parametrize("way", SAME)
@pytest.mark.parametrize("figures", [(0.02, 1.0), (5e-5, 0.9)])
def test_one_way_of_merging_turns_the_verdict(way, figures):
    before, after = verdict(24, merges()), verdict(24, merges(**{way: figures}))
    assert (before.outcome, after.outcome) == (HOLDS, FAILS), after.why
    assert before.figures != after.figures and len(after.figures) == 9


def test_it_says_which_way_keeps_and_which_loses_what_was_learnt():
    found = verdict(24, merges(original=(0.0216, 0.99), original_again=(0.0146, 0.99), kept_again=(0.035, 0.094)))
    assert found.outcome == FAILS
    kept, lost = found.why.index("It is kept by"), found.why.index("It loses what was learnt")
    assert kept < found.why.index("dequantized nf4-dq weights in bf16") < found.why.index("other things change") < lost
    assert "dequantized nf4-dq weights and quantized to nf4-dq again (0.0350 nats, 9.4 % right)" in found.why[lost:]


def test_what_learnt_nothing_or_was_not_measured_decides_nothing():
    assert "too little to lose" in verdict(24, merges(right=0.4)).why
    assert verdict(24, merges(right=0.4)).outcome == UNTESTED
    whole = merges().merges
    broken = replace(whole, kept=replace(whole.kept, error="no room"))
    assert verdict(24, Evidence(merges=broken)).outcome == UNTESTED
    assert verdict(24, Evidence(missing={"merges": "it needs peft."})).why == "It needs peft."


@pytest.mark.parametrize("number", [11, 12])
def test_a_training_is_told_and_vouches_for_the_plan(number, plans):
    def told(it: Training):
        return verdict(number, Evidence(plans=plans, training=it))

    same, alone = told(ran()), verdict(number, Evidence(plans=plans, missing={"training": "it needs peft."}))
    assert same.outcome == alone.outcome == FAILS
    values = {it.name: it.value for it in same.figures if it.measured}
    assert values["demo, trained: adapters"] == 1_000 and values["demo, trained: base"] == 9_500
    assert values["demo, trained: share of parameters"] == 2.5 and "2.50 % of the parameters" in same.why
    assert "No training was run here: it needs peft." in alone.why and not any(it.measured for it in alone.figures)
    for part, value in ADDED.items():
        off = told(ran(**{part: int(1.3 * value)}))
        assert off.outcome == UNTESTED and "cannot be relied on" in off.why and part in off.why
        assert told(ran(**{part: int(1.05 * value)})).outcome == FAILS
    small = {"adapters": 5_000_000, "weights": 2_500_000_000, "activations": 0}
    fitting = planned(plans, SEVEN, lambda plan: replace(plan, finetuned=replace(
        plan.finetuned, parts=dict(plan.finetuned.parts) | small
    )))  # fmt: skip
    assert verdict(number, replace(fitting, training=ran())).outcome == HOLDS


def test_one_that_was_asked_nothing_is_judged_by_its_distance():
    """GPTQ's on a CPU; the others' answers are still needed."""

    def without(*names: str, **changed):
        found = measured(**changed)
        runs = tuple(replace(it, tasks={}) if it.precision in names else it for it in found.runs)
        return verdict(13, Evidence(quality=replace(found, runs=runs)))

    assert without("gptq-3").outcome == HOLDS and "gptq-3 loses" not in without("gptq-3").why
    assert without("gptq-3", gptq_3={"kld": 0.001}).outcome == FAILS
    every = without("rtn-3", "rtn-2", "gptq-3", "q3_k_m", "q2_k")
    assert every.outcome == UNTESTED and "No task" in every.why


@pytest.mark.parametrize(("gpus", "asked"), [((), False), (("a card",), True)])
def test_tasks_are_asked_where_a_rule_needs_them(monkeypatch, gpus, asked):
    monkeypatch.setattr(measuring.hardware, "gpus", lambda: gpus)
    found = measuring._tasked()
    assert found[0] == "fp32" and {"nf4-dq", "rtn-4", "rtn-2", "q2_k"} < {*found}
    assert ("gptq-3" in found) is asked and "gptq-4" not in found and "bf16" not in found


def test_what_cannot_be_trained_is_the_reason(monkeypatch, plans):
    def refuses(*_args, **_kept):
        raise Unavailable("Fine-tuning needs the package peft.")

    monkeypatch.setattr(training, "finetune", refuses)
    monkeypatch.setattr(tasks, "why_none", lambda: "")
    found = result(measuring.evidence("demo", {"training", "merges"}, 1, app_settings(), threading.Event()))
    assert {*found.missing} == {"training", "merges"} and "peft" in verdict(24, found).why


def test_stop_ends_a_training(monkeypatch):
    monkeypatch.setattr(tasks, "why_none", lambda: "")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        result(measuring.evidence("demo", {"training"}, 1, app_settings(), stop))
    with pytest.raises(Stopped):
        result(measuring.evidence("demo", {"merges"}, 1, app_settings(), stop))


@pytest.mark.slow
def test_a_training_is_run_and_is_as_planned():
    told = []
    found = result(training.trained(app_settings(), threading.Event()), told.append)
    assert found.trainable == found.planned.trainable and found.memory["adapters"] == found.planned.parts["adapters"]
    assert found.memory["optimizer"] == pytest.approx(found.planned.parts["optimizer"], rel=0.01)
    assert found.memory["base"] > 0 and [it for it in told if it[:2] == (3, 3)]


@pytest.mark.slow
def test_merges_are_made_and_measured():
    few = replace(training.SET.settings, steps=2)
    found = result(training.merged(1, threading.Event(), few))
    assert found.steps == 2 and found.trained.fidelity.kld.mean == 0  # it is the reference
    ways = (found.original, found.original_again, found.kept, found.kept_again)
    assert all(run.error is None and run.tasks[TASK].items == found.trained.tasks[TASK].items for run in ways)
    # Of what nf4-dq keeps, in 16 bits, it is the same network; of the original weights it is another one.
    assert found.kept.fidelity.kld.mean < found.original.fidelity.kld.mean
    assert [run.precision.rpartition("::")[2] for run in ways] == ["bf16", "nf4-dq", "bf16", "nf4-dq"]
