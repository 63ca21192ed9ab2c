"""What a quality run's limits say, figure by figure, and the JUnit XML of it, read back by a real parser."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from quantlab.records import Quality
from quantlab.reporting.advice import upper
from quantlab.reporting.advice.gate import Limits, Verdict, judge
from quantlab.reporting.advice.junit import junit, unfinished
from tests.examples import QUIET
from tests.quality_examples import fidelity, mean_kld, quality

PAIR = ("fp32", "nf4")


def pair(**changes: object) -> Quality:
    """fp32 and nf4, whose run has those fields."""
    return quality(PAIR, errors={}, runs={"nf4": changes} if changes else None)


def outcomes(it: Quality, **limits: float) -> list[str]:
    return [check.outcome for check in judge(it, Limits(**limits)).checks]


def test_the_upper_end_of_the_interval_counts_not_the_mean():
    it = pair()
    mean, end = mean_kld("nf4"), upper(it.run("nf4").fidelity)
    assert mean < end
    assert outcomes(it, kld=end) == ["held"] and outcomes(it, kld=math.nextafter(end, 0)) == ["above"]
    (check,) = judge(it, Limits(kld=(mean + end) / 2)).checks
    assert (check.outcome, check.what, check.precision) == ("above", "mean KLD", "nf4")
    assert check.figure.startswith("0.0488 ± 0.0015 nats, 95 % interval 0.0") and check.limit.endswith(" nats")


def test_the_figure_has_as_many_digits_as_set_it_apart_from_the_limit():
    end = upper(pair().run("nf4").fidelity)
    (above,) = judge(pair(), Limits(kld=end * (1 - 1e-6))).checks
    assert float(above.figure.rpartition(" ")[2]) > end * (1 - 1e-6)
    (below,) = judge(pair(decode_tokens_per_s=19.9999, decode_samples=(19.9, 19.9999, 20.1)), Limits(speed=20)).checks
    assert below.sentence == "below: nf4, decode speed 19.9999 tok/s ± 0.5 %, median of 3 answers, 19.9 to 20.1; " + (
        "limit 20 tok/s"
    )
    assert judge(pair(), Limits(kld=0.0500001)).checks[0].limit == "0.0500001 nats"


def test_the_median_of_the_speeds_and_the_stored_bytes_are_held_to_theirs():
    it = pair()
    run = it.run("nf4")
    assert outcomes(it, speed=run.decode_tokens_per_s) == ["held"]
    assert outcomes(it, speed=run.decode_tokens_per_s + 0.01) == ["below"]
    stored = run.load.stored_bytes
    assert outcomes(it, memory=stored) == ["held"] and outcomes(it, memory=stored - 1) == ["above"]
    assert f"({stored:,} bytes)" in judge(it, Limits(memory=1)).checks[0].figure


def test_every_variant_but_the_reference_is_held_to_every_limit():
    it = quality(("fp32", "bf16", "nf4"), errors={})
    found = judge(it, Limits(kld=1e-2, speed=1.0, memory=10**12)).checks
    assert [(check.precision, check.outcome) for check in found] == [
        ("bf16", "held"), ("bf16", "held"), ("bf16", "held"), ("nf4", "above"), ("nf4", "held"), ("nf4", "held")
    ]  # fmt: skip
    assert [check.what for check in found[:3]] == ["mean KLD", "decode speed", "stored memory"]


NAN = float("nan")
FEW = replace(fidelity(1e-3), tokens=15)
ENOUGH = replace(fidelity(1e-3), tokens=16)
ALONE = replace(fidelity(1e-3), window_kld=(1e-3,), kld=replace(fidelity(1e-3).kld, se=None))
HOLES = replace(fidelity(1e-3), excluded=3)
NO_NUMBER = replace(fidelity(1e-3), kld=replace(fidelity(1e-3).kld, mean=NAN))


@pytest.mark.parametrize(
    ("changes", "limit", "why"),
    [
        ({"error": "It broke."}, "kld", "it failed. It broke"),
        ({"error": "It broke."}, "memory", "it failed"),
        ({"error": ""}, "speed", "it failed"),
        ({"stopped": True}, "kld", "it was stopped"),
        ({"stopped": True}, "memory", "it was stopped"),
        ({"fidelity": None, "notes": ("no figures of fidelity: the reference failed",)}, "kld", "the reference failed"),
        ({"fidelity": None}, "kld", "not compared"),
        ({"fidelity": FEW}, "kld", "15 positions, fewer than 16"),
        ({"fidelity": ALONE}, "kld", "interval is not known"),
        ({"fidelity": HOLES}, "kld", "at 3 positions"),
        ({"fidelity": NO_NUMBER}, "kld", "no numbers"),
        ({"decode_tokens_per_s": None, "decode_samples": ()}, "speed", "no speed"),
        ({"decode_samples": (300.0, 301.0)}, "speed", "only 2 answers"),
        ({"decode_samples": (100.0, 300.0, 500.0)}, "speed", "differed too much"),
        ({"cpu": replace(QUIET, others_s=QUIET.wall_s * QUIET.cores)}, "speed", "the machine was busy"),
        ({"load": None}, "memory", "nothing was loaded"),
    ],
)
def test_what_was_not_measured_never_passes(changes, limit, why):
    generous = {"kld": 1e6, "speed": 0.0, "memory": 10**15}
    assert outcomes(pair(), **{limit: generous[limit]}) == ["held"]
    verdict = judge(pair(**changes), Limits(**{limit: generous[limit]}))
    (check,) = verdict.checks
    assert check.outcome == "not measured" and why in check.why and verdict.outcome == "not measured"
    assert check.sentence.startswith("not measured: nf4, ") and "; limit " in check.sentence


def test_from_16_positions_on_a_divergence_counts():
    assert outcomes(pair(fidelity=ENOUGH), kld=1.0) == ["held"]


def test_a_limit_that_was_not_asked_for_wants_no_figure():
    silent = {"decode_tokens_per_s": None, "decode_samples": ()}
    assert judge(pair(**silent), Limits(kld=1.0, memory=10**12)).outcome == "held"


def test_broken_goes_before_not_measured_and_nothing_held_is_no_pass():
    broken_and_missing = judge(quality(("fp32", "int8", "nf4")), Limits(kld=1e-3))
    assert [check.outcome for check in broken_and_missing.checks] == ["not measured", "above"]
    assert broken_and_missing.outcome == "broken"
    assert judge(quality(("fp32", "int8", "nf4")), Limits(kld=1.0)).outcome == "not measured"
    assert judge(pair(), Limits(kld=1.0)).outcome == "held"
    assert judge(quality(("fp32",), errors={}), Limits(kld=1.0)).outcome == "not measured"
    assert Verdict(()).outcome == judge(pair(), Limits()).outcome == "not measured"


@pytest.mark.parametrize("wrong", [{"kld": -1e-9}, {"speed": NAN}, {"kld": math.inf}, {"memory": -1}])
def test_a_limit_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="finite"):
        Limits(**wrong)


def test_a_limit_of_zero_is_one():
    assert not Limits() and Limits(kld=0.0) and Limits(speed=0.0) and Limits(memory=0)
    assert outcomes(pair(), kld=0.0, memory=0) == ["above", "above"]


def parsed(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites" and [child.tag for child in root] == ["testsuite"]
    for element in (root, root[0]):
        cases = root[0].findall("testcase")
        assert int(element.get("tests")) == len(cases) > 0
        assert int(element.get("failures")) == len(root[0].findall("testcase/failure"))
        assert int(element.get("errors")) == len(root[0].findall("testcase/error"))
    return root[0]


def test_junit_has_a_case_for_each_variant_and_limit():
    it = quality(("fp32", "bf16", "int8", "nf4"))
    verdict = judge(it, Limits(kld=1e-2, memory=10**12))
    suite = parsed(junit(it, verdict, {"fp32": 3.0, "nf4": 5.0, "bf16": 2.0}))
    assert suite.get("name") == "quantlab quality demo" and suite.get("timestamp") == "2026-01-02T03:04:05"
    assert float(suite.get("time")) == 10.0
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == [
        f"{name}: {what}" for name in ("bf16", "int8", "nf4") for what in ("mean KLD", "stored memory")
    ]
    assert {case.get("classname") for case in cases.values()} == {"quantlab quality demo"}
    assert [float(case.get("time")) for case in cases.values()] == [1.0, 1.0, 0.0, 0.0, 2.5, 2.5]
    failure = cases["nf4: mean KLD"].find("failure")
    assert failure.get("type") == "above" and failure.text == failure.get("message")
    assert "0.0488 ± 0.0015 nats, 95 % interval 0.0" in failure.text and "limit 0.01 nats" in failure.text
    error = cases["int8: mean KLD"].find("error")
    assert "it failed" in error.text and cases["int8: stored memory"].find("error") is not None
    assert cases["bf16: mean KLD"].find("system-out").text.startswith("held: bf16")
    properties = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert properties["reference"] == "fp32" and properties["torch"] == "2.13.0"


def test_names_with_control_characters_and_markup_stay_well_formed():
    hostile = "a\x00\x1b[31m\x85<b>&\"'\ud800\uffff\n\t]]>é😀"
    it = replace(pair(), runs=(pair().run("fp32"), replace(pair().run("nf4"), precision=hostile, error=hostile)))
    it = replace(it, versions={hostile: hostile}, text=replace(it.text, name=hostile))
    suite = parsed(junit(it, judge(it, Limits(kld=1.0)), {hostile: 1.0}))
    (case,) = suite.findall("testcase")
    safe = "a\ufffd\ufffd[31m\ufffd<b>&\"'\ufffd\ufffd  ]]>é😀"
    assert case.get("name") == f"{safe}: mean KLD" and safe in case.find("error").text


def test_a_run_that_never_ended_is_an_error():
    suite = parsed(unfinished())
    assert suite.get("errors") == "1" and "did not come to its end" in suite.find("testcase/error").text
