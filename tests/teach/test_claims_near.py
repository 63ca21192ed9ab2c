"""A verdict that hangs on a figure near its bound says how near: by one rule, for all claims."""

import pytest

from quantlab.records.claims import FAILS, HOLDS
from quantlab.teach.claims.evidence import SEVENTY, Evidence
from quantlab.teach.claims.judging import Bound
from tests.teach.test_claims import measured, verdict

#: Figures that hang by little, the verdict, and what is said of them; one that is far off, or decides nothing, is not.
NEAR = [
    (1, {"int8": {"stored": 2_540}}, HOLDS, "int8 saves 74.6 %, where the rule asks for at least 74.5 %"),
    (1, {"int8": {"stored": 2_560}}, FAILS, "int8 saves 74.4 %, where the rule asks for at least 74.5 %"),
    (1, {"int8": {"stored": 2_560}, "nf4": {"stored": 5_000}}, FAILS, ""),
    (5, {"nf4_dq": {"lost": 0.96}}, HOLDS, "nf4-dq loses 0.960 %, where the rule asks for at most 1 %"),
    (5, {"nf4_dq": {"lost": 1.04}}, FAILS, "nf4-dq loses 1.04 %, where the rule asks for at most 1 %"),
    (5, {"nf4_dq": {"lost": 0.6}}, HOLDS, ""),
    (7, {"q8_0": {"kld": 0.97e-4}}, HOLDS, "q8_0 0.0000970 nats, where the rule asks for at most 0.000100 nats"),
    (8, {"nf4": {"speed": 92.0}}, HOLDS, "nf4 0.920 x, where the rule asks for at most 0.95 x"),
    (10, {"gptq_4": {"kld": 0.0103}}, HOLDS, "gptq-4 lies at 0.0103 nats, where the rule asks for more than 0.01 nats"),
    (13, {"q3_k_m": {"lost": 4.9}}, FAILS, "q3_k_m loses 4.90 %, where the rule asks for at least 5 %"),
    (18, {"nf4": {"stored": 1_003}}, HOLDS, "int8 in memory 2.19 x, where the rule asks for at most 2.2 x"),
    (22, {"nf4": {"speed": 100.0}, "gptq_4": {"speed": 150.0}}, FAILS, ""),
]


@pytest.mark.parametrize(("number", "changed", "outcome", "told"), NEAR)
def test_a_verdict_near_its_bound_says_how_near(number, changed, outcome, told):
    found = verdict(number, Evidence(quality=measured(**changed)))
    assert found.outcome == outcome, found.why
    assert ("Near its bound" in found.why) == bool(told) and told in found.why, found.why


def test_nine_point_nine_of_ten_percent_is_said_to_be_near(plans):
    """36 GB are claimed of a 70B model at 4 bits; it holds by a hair."""
    found = verdict(3, Evidence(plans=plans))
    gigabytes = plans[SEVENTY].precision("nf4").stored_bytes / 1e9
    off = 100 * (gigabytes - 36) / 36
    assert 9.5 < off < 10 and found.outcome == HOLDS
    assert f"nf4 is off by {off:.2f} %, where the rule asks for at most 10 %" in found.why
    assert "bf16 is off by" not in found.why


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        *(("at most", 1.0, True), ("less than", 1.0, False), ("at least", 1.0, True), ("more than", 1.0, False)),
        *(("at most", 1.01, False), ("at least", 0.99, False), ("less than", 0.99, True), ("more than", 1.01, True)),
    ],
)
def test_bounds_by_their_definition(kind, value, kept):
    assert Bound("it is", value, kind, 1.0).kept is kept and Bound("it is", value, kind, 1.0).near
    assert not Bound("it is", 1.06, kind, 1.0).near and not Bound("it is", value, kind, 1.0, apart=False).near
    assert not Bound("it is", float("nan"), kind, 1.0).near
