"""What one prompt tells of precisions: grades at their bounds, lines, and which to take."""

from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.records import Divergence, Model, TokenDifference
from quantlab.reporting.advice import KLD_BOUND, one_prompt
from quantlab.reporting.advice.one_prompt import grade, interval, line, noise_floor, which
from tests.examples import QUIET, example_comparison

MEASUREMENT = Path(__file__).parents[2] / "docs" / "measurement.md"


def apart(run, *klds: float, count: int = 32):
    """The run with these distances, in turn, at its tokens."""
    found = (TokenDifference(" a", 0.5, 0.5, True, 1, klds[i % len(klds)]) for i in range(count))
    return replace(run, differences=tuple(found))


def compared(**klds: float | tuple[float, ...]):
    """fp32 and what is named, each that far from it at all tokens."""
    plain = example_comparison(("fp32", *klds), errors={}, stopped=None)
    others = zip(plain.runs[1:], klds.values(), strict=True)
    runs = [apart(run, *(kld if isinstance(kld, tuple) else (kld,))) for run, kld in others]
    return replace(plain, runs=(plain.runs[0], *runs))


@pytest.mark.parametrize(
    ("kld", "floor", "word"),
    [
        (0.0, 0.0, "within the noise floor"),
        (0.001, 0.001, "within the noise floor"),
        (0.0011, 0.001, "slight"),
        (0.0, None, "slight"),
        (0.05, None, "slight"),
        (0.0501, 0.001, "plain"),
        (0.4999, None, "plain"),
        (0.5, None, "ruined"),
    ],
)
def test_a_distance_has_a_word(kld, floor, word):
    assert grade(kld, floor) == word


def test_the_bounds_are_those_of_the_document():
    text = MEASUREMENT.read_text("utf-8")
    assert f"*slight*: up to {one_prompt.SLIGHT} nats" in text and f"*ruined*: {one_prompt.RUINED} nats" in text
    assert one_prompt.SLIGHT == KLD_BOUND


def test_a_line_has_memory_words_and_distance():
    found = compared(bf16=0.001, nf4=0.02, **{"rtn-2": 2.0})
    reference, bf16, nf4, rtn = found.runs
    floor = noise_floor(found.runs, "fp32")
    assert floor == pytest.approx(0.001)
    assert "0.50× memory" in line(bf16, reference, floor) and "within the noise floor" in line(bf16, reference, floor)
    parted = replace(nf4, first_divergence=Divergence(7, (), ()))
    assert "same words until token 7" in line(parted, reference, floor)
    assert "slight difference (0.0200 nats)" in line(parted, reference, floor)
    assert "ruined (2.00 nats)" in line(rtn, reference, floor)
    assert line(reference, reference, floor) == "" and line(nf4, None, floor) == ""


def test_a_speed_is_claimed_only_where_it_bears_the_claim():
    reference, nf4 = compared(nf4=0.02).runs
    slow = replace(reference, decode_samples=(10.0, 10.0, 10.0), cpu=QUIET)
    fast = replace(nf4, decode_samples=(25.0, 25.0, 25.0), cpu=QUIET)
    assert "2.50× speed" in line(fast, slow, None)
    assert "as fast" in line(replace(fast, decode_samples=(10.1, 10.1, 10.1)), slow, None)
    busy = replace(fast, cpu=replace(QUIET, others_s=100.0))
    assert "speed" not in line(busy, slow, None) and "fast" not in line(busy, slow, None)
    assert "speed" not in line(replace(fast, decode_samples=(25.0,)), slow, None)


def test_few_tokens_get_no_word():
    reference, nf4 = compared(nf4=0.02).runs
    assert "0.0200 nats apart on too few tokens to say more" in line(apart(nf4, 0.02, count=15), reference, None)
    assert interval(apart(nf4, 0.02, count=15))[1] == float("inf")


def test_an_interval_is_of_blocks():
    run = compared(nf4=0.02).runs[1]
    assert interval(run) == (pytest.approx(0.02), pytest.approx(0.02))
    blocks = apart(run, *([0.0] * 4 + [0.08] * 4), count=32)  # blocks of 4: the means are 0, 0.08, 0, ...
    se = 0.08 * (2 / 7) ** 0.5 / 8**0.5  # standard deviation of four 0 and four 0.08 over the root of eight
    assert interval(blocks)[1] == pytest.approx(0.04 + 2.3646 * se, rel=1e-3) and interval(blocks)[0] == pytest.approx(
        0.04 - 2.3646 * se, rel=1e-2
    )


def test_the_smallest_close_one_is_taken_and_what_is_open_is_said():
    found = which(compared(bf16=0.001, int8=0.01, **{"rtn-2": 2.0}))
    assert found.startswith("Take int8: the smallest that stays close to fp32") and "rtn-2" not in found
    wavering = [0.0] * 4 + [0.08] * 4
    found = which(compared(bf16=0.001, nf4=tuple(wavering)))
    assert found.startswith("Take bf16") and "Whether nf4 would do, one prompt cannot tell." in found


def test_one_prompt_may_not_tell():
    wavering = tuple([0.0] * 4 + [0.08] * 4)
    assert which(compared(nf4=wavering)).startswith("Which to take, one prompt cannot tell: nf4 may or may not")
    assert which(compared(nf4=2.0)).startswith("None of the smaller ones stays close to fp32")
    few = compared(nf4=0.01)
    few = replace(few, runs=(few.runs[0], apart(few.runs[1], 0.01, count=15)))
    assert "one prompt cannot tell" in which(few)


def test_random_weights_and_lone_columns_are_not_judged():
    found = compared(nf4=0.01)
    assert which(replace(found, model=Model("shape:x", "shape", None))).startswith("The weights are random")
    assert which(replace(found, runs=found.runs[:1])) == ""
    assert which(replace(found, runs=(replace(found.runs[0], error="no"), found.runs[1]))) == ""
