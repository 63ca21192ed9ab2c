"""Whether figures bear a claim: the verdict and its reason from plain records, whatever this machine does meanwhile."""

import math
from dataclasses import replace
from statistics import median

import pytest

from quantlab.measure import trust
from quantlab.records import CpuUse, QualityRun, Run
from tests.examples import QUIET

BUSY = replace(QUIET, own_s=1.2, others_s=2.1)


def timed(name: str, *samples: float, cpu: CpuUse | None = QUIET, **more) -> QualityRun:
    return QualityRun(name, decode_samples=samples, decode_tokens_per_s=median(samples), cpu=cpu, **more)


NF4, FP32 = timed("nf4", 40.0, 41.2, 42.1), timed("fp32", 10.0, 10.1, 10.2)


def test_on_a_quiet_machine_the_fastest_is_claimed_with_its_spread():
    assert trust.verdict([FP32, NF4]) == trust.Verdict("nf4")
    assert trust.said([FP32, NF4]) == "Fastest: nf4, 41.2 tok/s ± 3 % in 3 answers."
    assert trust.relation(NF4, FP32) == "4.08 x" and trust.relation(FP32, FP32) == "1.00 x"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(FP32, cpu=BUSY), "the machine was busy: other programs took 1.4 of 2 cores while it was timed"),
        (timed("fp32", 10.0, 10.1, 15.0), "its speed differed too much from answer to answer (± 24 %)"),
        (timed("fp32", 10.0), "only one answer was timed"),
        (timed("fp32", 10.0, 10.1), "only 2 answers were timed"),
        (QualityRun("fp32", decode_tokens_per_s=10.0), "only one answer was timed"),
        (Run("fp32", decode_samples=(10.0, 10.1, 10.2), cpu=QUIET, timings_count=False),
         "it ran in a race, in which all slow each other down"),
    ],
    ids=["busy", "noisy", "single", "two", "older record", "race"],
)  # fmt: skip
def test_what_a_doubt_withholds(other, reason):
    """Also of a column that is slower by far: nobody knows what it would have reached."""
    assert trust.doubt(other) == reason
    found = trust.verdict([NF4, other])
    assert (found.fastest, found.near, found.doubts) == (None, (), {"fp32": reason})
    assert trust.said([NF4, other]) == f"Which is the fastest is not said. fp32: {reason}."
    assert trust.relation(NF4, other) == trust.relation(other, NF4) == "-"


def test_speeds_of_two_machines_are_not_compared():
    there = replace(FP32, node="node-1a2b3c")
    found = trust.verdict([NF4, there])
    assert found.fastest is None and found.doubts == {
        "nf4": "it ran on this machine, others elsewhere",
        "fp32": "it ran on node-1a2b3c, others elsewhere",
    }
    assert trust.relation(NF4, there) == "-"
    both = [replace(run, node="node-1a2b3c") for run in (NF4, FP32)]
    assert trust.verdict(both).fastest == "nf4" and trust.relation(*both) == "4.08 x"


def test_a_difference_within_the_spread_of_both_is_none():
    near = timed("fp4", 37.0, 39.0, 41.0)
    assert trust.spread(near.decode_samples) == pytest.approx(2 / 39) and not trust.apart(NF4, near)
    found = trust.verdict([near, FP32, NF4])
    assert found.fastest is None and found.near == ("nf4", "fp4") and not found.doubts
    said = trust.said([near, FP32, NF4])
    assert said.startswith("The fastest are nf4 (41.2 tok/s ± 3 %) and fp4 (39.0 tok/s ± 5 %): they differ by no more")
    assert trust.relation(near, NF4) == "no difference"
    # The same difference of steadier answers is one, and no scatter at all makes one of 4 %.
    steady = timed("fp4", 38.9, 39.0, 39.1)
    assert trust.apart(timed("nf4", 41.2, 41.3, 41.4), steady)
    assert not trust.apart(timed("nf4", 40.5, 40.5, 40.5), steady)


def test_reasons_that_are_alike_are_told_once_and_a_long_list_is_cut():
    runs = [timed(name, 10.0) for name in ("fp32", "bf16")] + [replace(NF4, cpu=BUSY), timed("fp4", 1.0, 9.0, 20.0)]
    assert trust.verdict(runs).why_not == (
        "fp32 and bf16: only one answer was timed. nf4: the machine was busy: other programs took 1.4 of 2 cores while "
        "it was timed. Doubted as well: fp4."
    )


def test_of_one_speed_alone_nothing_is_said():
    for runs in ([], [NF4], [NF4, QualityRun("fp32", "It failed.")]):
        assert trust.verdict(runs) == trust.Verdict() and trust.said(runs) == ""
    assert trust.relation(NF4, None) == trust.relation(NF4, QualityRun("fp32")) == "-"


@pytest.mark.parametrize(
    ("cpu", "busy"),
    [
        (QUIET, False),
        (replace(QUIET, others_s=0.31), True),  # more than a tenth of two threads over 1.5 s
        (replace(QUIET, others_s=0.29), False),
        (replace(QUIET, cores=8, others_s=9.0), False),  # six cores were left to others, and they took them
        (replace(QUIET, cores=8, others_s=9.4), True),
        (replace(QUIET, threads=1, others_s=1.5), False),
        (replace(QUIET, threads=16, others_s=0.2), False),  # of two cores two threads can compute at most
        (replace(QUIET, wall_s=0.2, others_s=0.045), False),  # no more than the clocks' ticks
        (replace(QUIET, others_s=None, own_s=1.0, load=3.0), True),
        (replace(QUIET, others_s=None, own_s=1.0, load=2.4), False),
        (replace(QUIET, others_s=None, own_s=2.8, load=9.0), False),
        (replace(QUIET, others_s=None, own_s=1.0, load=None), False),
        (replace(QUIET, wall_s=0.0), False),
    ],
)
def test_when_a_machine_was_busy(cpu, busy):
    assert ("busy" in trust.doubt(replace(NF4, cpu=cpu))) == busy


def test_where_the_system_does_not_tell_the_load_is_given():
    starved = replace(QUIET, others_s=None, own_s=1.35, load=4.1)
    assert "its load was 4.1 on 2 cores, and this program got 0.9 of them" in trust.doubt(replace(NF4, cpu=starved))


def test_what_an_older_record_does_not_tell_is_no_doubt():
    assert trust.doubt(replace(NF4, cpu=None)) == ""


def test_a_spread_is_that_of_the_samples():
    assert trust.spread((1.0, 2.0, 3.0)) == pytest.approx(0.5)
    assert trust.spread((1e300, 1e300)) == 0 and trust.spread((1e-300, 3e-300)) == pytest.approx(math.sqrt(0.5))
    for unknown in ((), (5.0,), (0.0, 0.0), (1.0, math.inf), (1.0, math.nan)):
        assert trust.spread(unknown) is None and trust.around(unknown) == ""
    assert [trust.around((100.0, 100.0 + d)) for d in (0.0, 1.0, 20.0)] == [" ± < 0.1 %", " ± 0.7 %", " ± 13 %"]
    assert trust.speed(QualityRun("nf4", decode_tokens_per_s=41.2)) == "41.2 tok/s"
    assert trust.answers((5.0,)) == "one answer" and trust.answers((4.0, 6.0)) == "median of 2 answers, 4.00 to 6.00"


def test_few_positions_are_said_to_be_few():
    assert [trust.few(n) for n in (0, 16, 300)] == ["", "", ""]
    assert trust.few(7) == "from 7 positions only: says little" and trust.few(1).startswith("from 1 position only")
