"""The claims: every verdict follows from figures alone, so that another figure gives another verdict."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quantlab import cli
from quantlab.errors import BadInput, Stopped
from quantlab.records import CpuUse, Quality, QualityRun, TaskScore
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims, ClaimVerdict, Figure
from quantlab.reporting.rules import rules
from quantlab.runtime.background import result
from quantlab.teach.claims import CLAIMS, exported, judged
from quantlab.teach.claims.evidence import SEVEN, SEVENTY, Evidence, Trial
from quantlab.teach.claims.measuring import COLUMNS, claims
from quantlab.teach.claims.recorded import FOLDER, recorded
from tests.examples import QUIET, example_comparison
from tests.quality_examples import fidelity, quality, quality_run

FLOOR = 1e-4
#: Of each column: bytes, bits of a quantized weight, mean KLD, tokens a second, answers lost in percent.
FIGURES = {
    "fp32": (10_000, None, 0.0, 50.0, 0.0),
    "bf16": (5_000, None, FLOOR, 100.0, 0.0),
    "int8": (2_200, 8.0, 9e-5, 110.0, 0.0),
    "nf4": (1_200, 4.5, 0.01, 90.0, 0.5),
    "nf4-dq": (1_100, 4.1, 0.011, 80.0, 0.6),
    "fp4": (1_200, 4.5, 0.02, 85.0, 2.0),
    "rtn-4": (1_150, 4.4, 0.03, 85.0, 2.5),
    "rtn-3": (900, 3.4, 0.3, 80.0, 8.0),
    "rtn-2": (700, 2.4, 3.0, 80.0, 50.0),
    "gptq-4": (1_150, 4.4, 0.015, 99.0, 0.7),
    "gptq-3": (900, 3.4, 0.2, 95.0, 6.0),
    "f16": (5_000, None, 1e-6, 100.0, 0.0),
    "q8_0": (2_650, 8.5, 8e-5, 120.0, 0.0),
    "q4_k_m": (1_400, 4.8, 0.008, 130.0, 0.4),
    "q4_k_m-imatrix": (1_400, 4.8, 0.008, 130.0, 0.4),
    "q3_k_m": (1_100, 3.9, 0.1, 120.0, 5.5),
    "q2_k": (900, 3.0, 0.6, 110.0, 20.0),
    "fp32+kv-int8": (10_000, None, 5e-5, 45.0, 0.0),
    "f16+kv-q8_0": (5_000, None, 6e-5, 95.0, 0.0),
}
ITEMS = 100_000


def run(name: str, **changes: float) -> QualityRun:
    """The run of a column with those figures; `changes` by their names."""
    of = dict(zip(("stored", "bits", "kld", "speed", "lost"), FIGURES[name], strict=True)) | changes
    plain = quality_run("nf4", "fp32")
    own = name == "fp32"
    score = TaskScore(ITEMS, 0.8 * (1 - of["lost"] / 100), 0.001, None, None)
    score = score if own else replace(score, flips_lost=0.8 * of["lost"] / 100, flips_won=0.0)
    load = replace(
        plain.load, stored_bytes=of["stored"], bits_per_quantized_weight=of["bits"], load_s=of.get("load", 1.0),
        build_s=of.get("build", 20.0 if name.startswith("gptq") else None),
    )  # fmt: skip
    return replace(
        plain, precision=name, load=load, decode_tokens_per_s=of["speed"], cpu=of.get("cpu", QUIET),
        decode_samples=tuple(of["speed"] * it for it in (0.999, 1.0, 1.001)),
        fidelity=fidelity(of["kld"], spread=0.01), tasks={"demo_facts": score},
    )  # fmt: skip


def measured(**changed: dict[str, float]) -> Quality:
    """All columns; `changed` gives other figures to some, `-` and `+` in their names written `_` and `__`."""
    named = {name.replace("__", "+").replace("_imatrix", "-imatrix"): it for name, it in changed.items()}
    named = {name if name in FIGURES else name.replace("_", "-"): it for name, it in named.items()}
    runs = tuple(run(name, **named.get(name, {})) for name in FIGURES)
    return replace(quality(("fp32",), errors={}), runs=runs, noise_floor=fidelity(FLOOR))


def verdict(number: int, found: Evidence) -> ClaimVerdict:
    return judged(next(claim for claim in CLAIMS if claim.number == number), found)


#: Of a claim that is judged by the quality run: whether it holds of the figures above, and figures that turn it.
TURNED = [
    (1, HOLDS, {"int8": {"stored": 3_000}}),
    (1, HOLDS, {"nf4": {"stored": 500}}),
    (4, HOLDS, {"nf4_dq": {"bits": 4.2}}),
    (5, HOLDS, {"nf4_dq": {"lost": 1.5}}),
    (5, HOLDS, {"rtn_4": {"lost": 0.1}}),
    (6, HOLDS, {"nf4": {"kld": 0.025}}),
    (7, HOLDS, {"int8": {"kld": 2e-4}}),
    (7, HOLDS, {"q8_0": {"kld": 2e-4}}),
    (8, HOLDS, {"nf4": {"speed": 50.0}}),
    (8, HOLDS, {"nf4": {"speed": 130.0}}),
    (8, HOLDS, {"gptq_4": {"speed": 60.0}}),
    (10, HOLDS, {"gptq_4": {"kld": 0.005}}),
    (10, HOLDS, {"gptq_4": {"build": 0.5}}),
    (13, HOLDS, {"q3_k_m": {"lost": 1.0}}),
    (13, HOLDS, {"gptq_3": {"kld": 0.001}}),
    (15, FAILS, {"int8": {"speed": 90.0}, "q4_k_m": {"speed": 90.0}}),
    (18, HOLDS, {"int8": {"speed": 60.0}}),
    (18, HOLDS, {"int8": {"stored": 4_000}}),
    (19, FAILS, {"nf4": {"speed": 115.0}}),
    (22, FAILS, {"nf4": {"speed": 140.0}, "gptq_4": {"speed": 150.0}}),
    (23, HOLDS, {"fp32__kv-int8": {"kld": 3e-4}}),
    (23, HOLDS, {"f16__kv-q8_0": {"kld": 3e-4}}),
    (25, HOLDS, {"q4_k_m_imatrix": {"kld": 0.004}}),
]


@pytest.mark.parametrize(("number", "outcome", "changed"), TURNED)
def test_another_figure_turns_the_verdict(number, outcome, changed):
    before = verdict(number, Evidence(quality=measured()))
    after = verdict(number, Evidence(quality=measured(**changed)))
    assert before.outcome == outcome, before.why
    assert {before.outcome, after.outcome} == {HOLDS, FAILS}, after.why
    assert before.figures != after.figures and before.figures and before.why != after.why


@pytest.mark.parametrize("number", [8, 15, 18, 19, 22])
def test_a_speed_that_bears_no_claim_decides_nothing(number):
    busy = CpuUse(wall_s=1.5, own_s=1.4, others_s=1.4, cores=2, threads=2, load=8.0)
    found = verdict(number, Evidence(quality=measured(nf4={"cpu": busy})))
    assert found.outcome == UNTESTED and "busy" in found.why


def test_too_few_items_decide_nothing():
    few = measured(nf4_dq={"lost": 1.5})
    runs = tuple(
        replace(it, tasks={name: replace(score, items=50) for name, score in it.tasks.items()}) for it in few.runs
    )
    found = verdict(5, Evidence(quality=replace(few, runs=runs)))
    assert found.outcome == UNTESTED and "too few items" in found.why


def test_two_that_cannot_be_told_apart_are_not():
    found = verdict(6, Evidence(quality=measured(fp4={"kld": 0.01})))
    assert found.outcome == UNTESTED and "cannot be told apart" in found.why


def test_a_column_that_failed_is_the_reason():
    failed = measured()
    runs = tuple(
        QualityRun("gptq-4", error="gptq-4 needs gptqmodel.") if it.precision == "gptq-4" else it for it in failed.runs
    )
    for number in (8, 10, 22):
        found = verdict(number, Evidence(quality=replace(failed, runs=runs)))
        assert found.outcome == UNTESTED and found.why.startswith("gptq-4: gptq-4 needs gptqmodel")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.number))
def test_without_evidence_nothing_is_judged(claim):
    found = judged(claim, Evidence())
    assert found.outcome == UNTESTED and found.why.endswith(".") and found.why[0].isupper() and not found.figures


def test_there_are_25_with_a_number_each():
    assert [claim.number for claim in CLAIMS] == list(range(1, 26))
    assert set(FIGURES) == set(COLUMNS)


def planned(plans, model: str, change: Callable):
    return Evidence(plans=plans | {model: change(plans[model])})


def scaled(share: float) -> Callable:
    """A plan whose weights take so much of theirs."""

    def change(plan):
        grown = (replace(it, parts={k: int(v * share) for k, v in it.parts.items()}) for it in plan.precisions)
        return replace(plan, precisions=tuple(grown))

    return change


def test_the_sizes_of_models_follow_the_plans(plans):
    assert verdict(2, Evidence(plans=plans)).outcome == FAILS
    assert [it.value for it in verdict(2, Evidence(plans=plans)).figures] == [
        plans[SEVEN].precision(name).stored_bytes for name in ("fp32", "bf16", "int8", "nf4")
    ]
    smaller = planned(plans, SEVEN, lambda plan: replace(plan, precisions=tuple(
        replace(it, parts={"mlp": 3_500_000_000}) if it.precision == "nf4" else it for it in plan.precisions
    )))  # fmt: skip
    assert verdict(2, smaller).outcome == HOLDS
    assert verdict(3, Evidence(plans=plans)).outcome == HOLDS
    assert verdict(3, planned(plans, SEVENTY, scaled(1.3))).outcome == FAILS


def test_cards_and_fine_tuning_follow_the_plans(plans):
    for number in (11, 12):
        assert verdict(number, Evidence(plans=plans)).outcome == FAILS

    def trained(**parts: int) -> Evidence:
        return planned(plans, SEVEN, lambda plan: replace(
            plan, finetuned=replace(plan.finetuned, parts=dict(plan.finetuned.parts) | parts)
        ))  # fmt: skip

    assert verdict(11, trained(weights=2_000_000_000, activations=0)).outcome == HOLDS
    assert verdict(12, trained(adapters=8_300_000)).outcome == HOLDS
    assert verdict(20, Evidence(plans=plans)).outcome == HOLDS
    crowded = planned(plans, SEVEN, lambda plan: replace(plan, precisions=tuple(
        replace(it, fits=tuple(replace(fit, largest_batch=3) for fit in it.fits)) for it in plan.precisions
    )))  # fmt: skip
    assert verdict(20, crowded).outcome == FAILS


def test_buckets():
    def codes(*found: int) -> Evidence:
        return Evidence(codes={"int8 absmax": found})

    assert verdict(17, codes(-127, 56, -1)).outcome == FAILS
    assert verdict(17, codes(-15, 6, 0)).outcome == HOLDS


def test_programs():
    good = {f"compute {name}": Trial("it", "", 1e-5) for name in ("float16", "bfloat16", "float32")}
    wrong = good | {"compute int8": Trial("it", "", 8.1)}
    broken = good | {"compute int8": Trial("it", "TypeError: no")}
    same = good | {"compute int8": Trial("it", "", 1e-5)}
    assert verdict(14, Evidence(trials=wrong)).outcome == HOLDS == verdict(14, Evidence(trials=broken)).outcome
    assert verdict(14, Evidence(trials=same)).outcome == FAILS
    today = {"as it is written today": Trial("today")}
    assert verdict(21, Evidence(trials=today | {"as printed": Trial("it", "TypeError: no")})).outcome == FAILS
    assert verdict(21, Evidence(trials=today | {"as printed": Trial("it")})).outcome == HOLDS


def warmed(*shares: float) -> Evidence:
    """First answers, each with a first pass that took so many times a later one."""
    timed = next(it for it in example_comparison().runs if it.timing and it.ttft_s)
    return Evidence(first=tuple(
        replace(timed, timing=replace(timed.timing, warmup_ttft_s=share * timed.ttft_s)) for share in shares
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "outcome"),
    [
        ((2.0, 1.9, 2.1, 2.0, 1.5), HOLDS),
        ((1.0, 1.05, 0.9, 1.0, 1.0), FAILS),
        ((2.0, 1.9, 2.1, 2.0, 0.5), HOLDS),  # one load that was disturbed decides nothing
        ((1.0, 1.0, 9.0, 1.0, 1.0), FAILS),
        ((2.0, 1.0, 2.1, 0.9, 1.5), UNTESTED),
        ((2.0, 2.0, 2.0, 2.0), UNTESTED),
        ((), UNTESTED),
    ],
)
def test_the_first_answer_is_judged_over_several_loads(shares, outcome):
    found = verdict(9, warmed(*shares))
    assert found.outcome == outcome, found.why
    assert len(found.figures) == (7 if len(shares) == 5 else 0)


def test_first_answers_on_a_busy_machine_decide_nothing():
    busy = CpuUse(wall_s=1.5, own_s=1.4, others_s=1.4, cores=2, threads=2, load=8.0)
    found = warmed(2.0, 1.9, 2.1, 2.0, 1.5)
    disturbed = tuple(replace(run, cpu=busy) for run in found.first[:3]) + found.first[3:]
    told = verdict(9, Evidence(first=disturbed))
    assert told.outcome == UNTESTED and "busy" in told.why and len(told.figures) == 7
    assert [it.value for it in told.figures[2:]] == pytest.approx([2.0, 1.9, 2.1, 2.0, 1.5])  # in their order
    assert (
        verdict(9, Evidence(first=tuple(replace(run, cpu=busy) for run in found.first[:2]) + found.first[2:])).outcome
        == HOLDS
    )


def test_a_load_that_was_none_has_no_time():
    held = measured()
    runs = tuple(
        replace(it, load=replace(it.load, load_origin="memory", load_s=3e-5)) if it.precision == "nf4" else it
        for it in held.runs
    )
    found = verdict(10, Evidence(quality=replace(held, runs=runs)))
    assert found.outcome == UNTESTED and "was not measured" in found.why
    assert not any(it.unit == "s" for it in found.figures)


@pytest.mark.parametrize("number", [9, 4])
def test_stop_gives_no_verdict(number, monkeypatch):
    """Of the first answers and of the quality run alike: what a part of them says decides nothing."""
    from quantlab.teach.claims import measuring

    monkeypatch.setattr(measuring, "COLUMNS", ("fp32", "nf4", "nf4-dq"))
    stop, told = threading.Event(), []
    work = claims("demo", (number,), 1, stop=stop)
    with pytest.raises(Stopped):
        for step in work:
            told.append(step)
            if len(told) == 3:
                stop.set()
    assert len(told) < 40


@pytest.mark.slow
def test_first_answers_come_each_after_a_load_of_its_own():
    from quantlab.runs.loading import variant_cache
    from quantlab.teach.claims import measuring

    before = {*variant_cache()._entries}
    runs = result(measuring._first("demo", threading.Event()), lambda _: None)
    assert [run.load.load_origin for run in runs] == ["built"] * 5
    assert all(run.timing.warmup_ttft_s > 0 and len(run.ttft_samples) >= 3 for run in runs)
    assert {*variant_cache()._entries} == before


def test_a_claim_that_is_none_is_told():
    with pytest.raises(BadInput, match="no claim 26"):
        list(claims(only=(3, 26)))


@pytest.mark.parametrize("typed", ["", " ", ",", "x", "1,,a", "1,,2", "-1", "1.5", "²"])
def test_numbers_that_are_none_are_told(typed, capsys):
    assert cli.main(["claims", "--only", typed]) == 2
    assert "--only takes numbers" in capsys.readouterr().err


@pytest.mark.slow
def test_what_needs_no_run_is_told_as_json(capsys):
    assert cli.main(["claims", "--only", "2,14,16,17,21", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "quantlab.claims/1" and [it["number"] for it in found["verdicts"]] == [2, 14, 16, 17, 21]
    outcomes = {it["number"]: it["outcome"] for it in found["verdicts"]}
    assert outcomes[17] == FAILS and outcomes[21] == FAILS and outcomes[16] == UNTESTED
    bytes_of = {it["name"]: it["value"] for it in found["verdicts"][0]["figures"]}
    assert bytes_of["shape:Mistral-7B-v0.3 nf4"] == 4_463_286_784


def test_verdicts_are_written_and_read_back(plans):
    found = Claims(
        "demo", datetime(2026, 1, 2, 3, 4, tzinfo=UTC), example_comparison().machine, {"torch": "2"},
        (verdict(2, Evidence(plans=plans)), verdict(7, Evidence(quality=measured())), verdict(16, Evidence())),
    )  # fmt: skip
    assert exported.read_json(exported.to_json(found)) == found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.pop("verdicts"), "verdicts: the field is missing"),
        (lambda data: data.update(schema="quantlab.claims/2"), "schema: quantlab.claims/1 is needed"),
        (lambda data: data["verdicts"][0].update(outcome="maybe"), r"verdicts\[0\].outcome: holds here"),
        (lambda data: data["verdicts"][0]["figures"][0].update(value=[1]), r"figures\[0\].value: a number is needed"),
        (lambda data: data["verdicts"][0].update(extra=1), "extra: there is no such field"),
    ],
)
def test_a_file_that_is_none_is_told_by_its_field(plans, change, told):
    held = (verdict(2, Evidence(plans=plans)),)
    found = Claims("demo", datetime(2026, 1, 2, tzinfo=UTC), example_comparison().machine, {}, held)
    data = exported.claims_data(found)
    change(data)
    with pytest.raises(BadInput, match=told):
        exported.read_json(json.dumps(data))
    with pytest.raises(BadInput, match="no JSON"):
        exported.read_json("{")


@pytest.mark.parametrize("value", [-127, 0, 3, 10**18, -0.5, 2.5, "words"])
def test_a_figure_of_any_kind_comes_back(value):
    held = ClaimVerdict(17, "claim", "test", HOLDS, "why", (Figure("bucket", value),))
    found = Claims("demo", datetime(2026, 1, 2, tzinfo=UTC), example_comparison().machine, {}, (held,))
    (back,) = exported.read_json(exported.to_json(found)).verdicts[0].figures
    assert back.value == value and type(back.value) is type(value)


def test_a_recorded_file_that_cannot_be_read_is_left_out(tmp_path, plans, caplog):
    held = (verdict(2, Evidence(plans=plans)),)
    for day in (1, 2):
        found = Claims("demo", datetime(2026, 1, day, tzinfo=UTC), example_comparison().machine, {}, held)
        (tmp_path / f"{day}.json").write_text(exported.to_json(found))
    (tmp_path / "3.json").write_text('{"schema": "quantlab.claims/9"}')
    assert [it.started.day for it in recorded(tmp_path)] == [2, 1]
    assert "3.json" in caplog.text and "quantlab.claims/1 is needed" in caplog.text
    assert recorded(tmp_path / "none") == ()


def test_every_claim_has_its_rule_in_words():
    found = rules()
    assert set(found) == {claim.number for claim in CLAIMS} and all(len(it) > 10 for it in found.values())


def test_what_is_recorded_here_can_be_read():
    assert len(recorded()) == len(list(FOLDER.glob("*.json")))  # each that is there, and none is left out in silence
    for found in recorded():
        assert {it.number for it in found.verdicts} == set(range(1, 26)) and found.machine.cpu
