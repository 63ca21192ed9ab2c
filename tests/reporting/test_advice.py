"""What is recommended, why, and when two precisions cannot be told apart."""

import math
import random
import re
from dataclasses import replace

import pytest

from quantlab.measure import paired
from quantlab.records import Fidelity, Quality
from quantlab.reporting.advice import advise, round_up, upper
from tests.examples import QUIET
from tests.quality_examples import fidelity, mean_kld, quality

NOISY = ("fp32", "bf16", "nf4", "fp4")


def scattered(mean: float, scatter: float, seed: int, windows: int = 16) -> Fidelity:
    """Windows of that mean exactly, scattered by chance with that standard deviation."""
    draw = random.Random(seed)
    values = [draw.gauss(0, scatter) for _ in range(windows)]
    middle = sum(values) / windows
    return replace(fidelity(mean, windows), window_kld=tuple(mean + value - middle for value in values))


def close(means: tuple[float, float] = (0.050, 0.051), scatter: float = 0.01, windows: int = 16) -> Quality:
    found = {name: {"fidelity": scattered(mean, scatter, i, windows)} for i, (name, mean) in
             enumerate(zip(("nf4", "fp4"), means, strict=True))}  # fmt: skip
    it = quality(NOISY, errors={}, runs=found)
    return replace(it, text=replace(it.text, windows=windows))


def test_smallest_under_the_bound_is_the_smallest_whose_error_stays_under_it():
    it = quality()
    nf4 = it.run("nf4")
    assert advise(it, 0.06).smallest == "nf4"
    assert advise(it, 5.0).smallest == "rtn-2"
    # The mean lies under this bound, the interval does not.
    between = (nf4.fidelity.kld.mean + upper(nf4.fidelity)) / 2
    found = advise(it, between)
    assert found.smallest == "bf16" and any("nf4 may do" in text for text in found.recommendations)
    assert "0.0488" in advise(it, 0.06).recommendations[0]


def test_the_interval_is_that_of_the_windows():
    run = quality().run("nf4")
    windows = run.fidelity.window_kld
    mean = sum(windows) / len(windows)
    error = math.sqrt(sum((x - mean) ** 2 for x in windows) / (len(windows) - 1) / len(windows))
    assert upper(run.fidelity) == pytest.approx(mean + 2.1314 * error, rel=1e-4)
    alone = replace(run, fidelity=replace(run.fidelity, window_kld=windows[:1]))
    # Eight blocks of the one window: Student's t with seven degrees of freedom.
    assert upper(alone.fidelity) == pytest.approx(mean + 2.3646 * run.fidelity.kld.se, rel=1e-4)


def test_no_precision_under_the_bound():
    found = advise(quality(), 1e-6)
    assert found.smallest is None
    assert "keep fp32" in found.recommendations[0] and "bf16" in found.recommendations[0]
    assert any("bound lies below the noise floor" in text for text in found.noise)


def speeds(**each: tuple[float, ...]) -> dict[str, dict[str, object]]:
    """Runs' speeds, by precision; each has three samples, the second their median."""
    return {name: {"decode_samples": it, "decode_tokens_per_s": it[1]} for name, it in each.items()}


def test_fastest_that_fits():
    faster = speeds(nf4=(495.0, 500.0, 505.0))
    it = quality(runs=faster)
    sizes = {run.precision: run.load.stored_bytes for run in it.runs if run.load}
    found = advise(it, 1.0)
    assert found.fastest == "nf4"
    assert any(text.startswith("Fastest of all: nf4, 500 tok/s ± 1 % in 3 answers") for text in found.recommendations)
    tight = advise(it, 0.01, sizes["rtn-2"])
    assert tight.fastest == "rtn-2" and any("lies above the bound" in text for text in tight.recommendations)
    none = advise(it, 1.0, 1_000)
    assert none.fastest is None and any("None fits into 1,000 bytes" in text for text in none.recommendations)
    silent = replace(it, runs=tuple(replace(run, decode_tokens_per_s=None) for run in it.runs))
    assert advise(silent, 1.0).fastest is None


def test_the_reference_may_be_the_fastest_and_is_not_held_to_the_bound():
    it = quality(runs=speeds(fp32=(8_990.0, 9_000.0, 9_010.0)))
    found = advise(it, 1e-3)
    assert found.fastest == "fp32" and not any("of fp32," in text for text in found.recommendations)


def test_of_speeds_too_near_to_each_other_none_is_named():
    found = advise(quality(), 1.0)
    (said,) = (text for text in found.recommendations if "fastest" in text)
    assert found.fastest is None
    assert said.startswith("The fastest are nf4-dq (375 tok/s ± 1 %) and nf4 (373 tok/s ± 1 %)")


def test_while_a_speed_is_in_doubt_no_fastest_is_named_and_the_reason_is_said():
    busy = replace(QUIET, own_s=1.2, others_s=2.1)
    clear = speeds(nf4=(495.0, 500.0, 505.0))
    for doubted, why in (
        ({"fp32": {"cpu": busy}}, "fp32: the machine was busy: other programs took 1.4 of 2 cores while it was timed."),
        (speeds(bf16=(10.0, 100.0, 150.0)), "bf16: its speed differed too much from answer to answer (± 82 %)."),
        ({"fp32": {"decode_samples": (2.4,), "decode_tokens_per_s": 2.4}}, "fp32: only one answer was timed."),
    ):
        found = advise(quality(runs=clear | doubted), 1.0)
        assert found.fastest is None and not any(text.startswith("Fastest") for text in found.sentences)
        (said,) = (text for text in found.recommendations if "fastest" in text)
        assert said.startswith(f"Which is the fastest of all is not said. {why}")


def test_a_distance_of_a_few_positions_decides_nothing():
    short = {name: {"fidelity": replace(fidelity(mean_kld(name), 1), tokens=7)} for name in ("bf16", "nf4")}
    it = quality(("fp32", "bf16", "nf4"), errors={}, runs=short)
    found = advise(it, 1.0)
    assert found.smallest is None and found.ranking == () and found.pairs == ()
    assert found.recommendations[0].startswith("Nothing is recommended")
    assert any("bf16 and nf4 is from 7 positions only: says little" in text for text in found.cautions)
    assert not any("not considered" in text for text in found.cautions)


def test_within_the_noise_floor():
    found = advise(quality(), 1.0)
    assert found.within_floor == ("bf16",)
    assert found.noise[0].startswith("bf16 is the noise floor itself")
    assert any("Every other precision lies above" in text for text in found.noise)
    nearer = {"bf16": {"fidelity": fidelity(mean_kld("bf16") / 2)}}
    assert advise(quality(runs=nearer), 1.0).noise[0].startswith("bf16 cannot be told from fp32")
    assert advise(quality(floor=False), 1.0).within_floor == ()
    assert "there is none" in advise(quality(floor=False), 1.0).noise[0]
    above = {"bf16": {"fidelity": fidelity(2 * mean_kld("bf16"))}}
    assert any("Every precision lies above" in text for text in advise(quality(runs=above), 1.0).noise)
    hardly = {"bf16": {"fidelity": scattered(1.01 * mean_kld("bf16"), 1e-5, 3)}}
    assert any("cannot tell it from the floor" in text for text in advise(quality(runs=hardly), 1.0).noise)
    both = {name: {"fidelity": fidelity(mean_kld("bf16") / share)} for name, share in (("nf4", 2), ("bf16", 3))}
    pair = advise(quality(runs=both), 1.0).pairs[0]
    assert (pair.closer, pair.farther, pair.apart, pair.tokens) == ("bf16", "nf4", False, None)
    assert "no text tells them apart" in pair.sentence


def test_a_speed_that_something_disturbed_is_told_once():
    alone = quality(("fp32",), errors={}, runs=speeds(fp32=(10.0, 100.0, 150.0)))
    (said,) = (text for text in advise(alone, 1.0).sentences if "answer to answer" in text)
    assert said.startswith("The decode speed of fp32 says little")
    several = advise(quality(runs=speeds(nf4=(10.0, 100.0, 150.0))), 1.0)
    (said,) = (text for text in several.sentences if "answer to answer" in text)
    assert "nf4" in said and said in several.recommendations
    assert not any("answer to answer" in text for text in advise(quality(), 1.0).sentences)


def test_few_windows_are_cautioned_of_before_anything_is_told_apart():
    it = close((0.05, 0.08), windows=3)
    it = replace(it, text=replace(it.text, tokens=10**6))
    found = advise(it, 1.0)
    caution = next(text for text in found.sentences if "gave only 3 windows" in text)
    assert found.sentences.index(caution) < found.sentences.index(found.pairs[0].sentence)
    assert not any("cannot tell it from the floor" in text for text in found.noise)
    (again,) = (pair for pair in found.pairs if pair.tokens)
    windows = int(again.sentence.rpartition(" ")[2].rstrip(".").replace(",", ""))
    assert windows >= 8


def test_one_precision_alone_is_not_called_the_fastest():
    it = quality(("fp32",), errors={})
    assert not any("Fastest" in text for text in advise(it, 1.0).sentences)


def test_pairs_that_cannot_be_told_apart_say_how_much_text_would_do():
    it = close()
    pair = next(pair for pair in advise(it, 1.0).pairs if pair.closer == "nf4")
    found = paired.difference(it.run("fp4").fidelity.window_kld, it.run("nf4").fidelity.window_kld)
    assert found.mean == pytest.approx(0.001) and not found.apart and found.needed > 16
    assert (pair.apart, pair.tokens) == (False, round_up(found.needed * 512))
    assert f"{pair.tokens:,} tokens" in pair.sentence and "8,192 were read" in pair.sentence
    assert "give a longer one" in pair.sentence
    long = replace(it, text=replace(it.text, tokens=10**9))
    assert "raise the number of windows to" in next(p for p in advise(long, 1.0).pairs if p.closer == "nf4").sentence


def test_pairs_that_can():
    pair = next(pair for pair in advise(close(scatter=1e-4), 1.0).pairs if pair.closer == "nf4")
    assert pair.apart and pair.tokens is None and "nf4 is closer to the reference than fp4" in pair.sentence


def test_pairs_that_no_text_would_tell_apart():
    hopeless = next(p for p in advise(close((0.05, 0.05 + 1e-7)), 1.0).pairs if p.closer == "nf4")
    assert hopeless.apart is False and hopeless.tokens is None and "No text" in hopeless.sentence
    same = {name: {"fidelity": fidelity(0.05)} for name in ("nf4", "fp4")}
    twins = advise(quality(NOISY, errors={}, runs=same), 1.0).pairs[-1]
    assert twins.apart is False and "differ in nothing" in twins.sentence


def test_windows_that_do_not_pair():
    one = advise(close(windows=1), 1.0)
    assert {pair.apart for pair in one.pairs} == {None}
    assert any("only 1 window of 512" in text for text in one.cautions)
    other = quality(NOISY, errors={}, runs={"nf4": {"fidelity": replace(fidelity(0.05), window_kld=(None,) * 16)}})
    assert any(pair.apart is None for pair in advise(other, 1.0).pairs)


def test_what_was_not_considered_is_said():
    found = advise(quality(stopped="rtn-2"), 1.0)
    assert any("int8 failed" in text for text in found.cautions)
    assert any("rtn-2 is not considered" in text for text in found.cautions)
    assert found.ranking == ("bf16", "nf4", "nf4-dq")
    alone = advise(quality(("fp32",)), 1.0)
    assert alone.smallest is None and alone.ranking == () and "there is none to recommend" in alone.sentences[0]
    nothing = advise(quality(("fp32", "int8"), errors={n: ("It failed.", "") for n in ("fp32", "int8")}), 1.0)
    assert nothing.fastest is None and nothing.sentences


def test_never_better_than_the_reference():
    lower = replace(fidelity(0.05), ppl=replace(fidelity(0.05).ppl, ratio=0.93))
    odd = replace(fidelity(0.05), excluded=3)
    for it in (quality(), quality(floor=False), close(), quality(runs={"nf4": {"fidelity": lower}}),
               quality(runs={"nf4": {"fidelity": odd}})):  # fmt: skip
        words = " ".join(advise(it, 0.06).sentences)
        assert not re.search(r"\bbetter\b|\bimprove", words)
    ppl = fidelity(0.05).ppl
    slightly = replace(fidelity(0.05), ppl=replace(ppl, ratio=1 - ppl.ratio_se))
    for found, word in ((lower, "no gain"), (slightly, "noise")):
        cautions = advise(quality(runs={"nf4": {"fidelity": found}}), 0.06).cautions
        assert any("below the reference's" in text and word in text for text in cautions)


def test_a_text_that_the_reference_does_not_know_is_said():
    guessing = replace(fidelity(0.05), ppl=replace(fidelity(0.05).ppl, value=7e6))
    known = quality()
    assert not any("does not know" in text for text in advise(known, 0.06).cautions)
    unknown = quality(runs={known.reference: {"fidelity": guessing}})
    assert any("does not know such texts" in text for text in advise(unknown, 0.06).cautions)


def test_refused_and_rounded():
    for bound, memory in ((0, None), (math.nan, None), (1.0, 0)):
        with pytest.raises(ValueError):
            advise(quality(), bound, memory)
    assert [round_up(n) for n in (7, 99, 101, 8_192, 81_920)] == [7, 99, 110, 8_200, 82_000]
