"""Answers timed again: how many, how long, the same tokens, Stop; and what a machine at work does to a claim."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from quantlab.errors import OutOfMemory
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import text
from quantlab.measure import trust
from quantlab.measure.cpu import cores
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Model, Placement, QualitySettings, Timing
from quantlab.records.events import Finished, Measured, Measuring, QualityDone, TimingAgain
from quantlab.runs import estimates, repeats
from quantlab.runs.quality import quality
from quantlab.runs.repeats import length
from quantlab.runtime.variant_cache import VariantCache
from tests import tiny
from tests.comparing import Loader, compared, done, events, is_complete

DEMO = Model("demo", "demo", DEMO_FOLDER)
NAMES = ("fp32", "rtn-4")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Model:
    return tiny.write(tmp_path_factory.mktemp("llama"), "llama")


def answered(ttft_s: float, gap_s: float, tokens: int = 64) -> Timing:
    return Timing(None, ttft_s, (gap_s,) * (tokens - 1), 10)


@pytest.mark.parametrize(
    ("first", "seconds", "tokens"),
    [
        (answered(0.1, 0.01), 5.0, 64),  # whole answers
        (answered(0.1, 0.05), 2.0, 19),  # a second each: 0.1 s and 18 gaps
        (answered(0.1, 0.2), 1.0, 9),  # the least that says anything takes longer, but within 5 s
        (answered(0.1, 0.3), 1.0, 9),
        (answered(0.1, 0.4), 1.0, 0),  # two of nine tokens would take 6.6 s
        (answered(3.0, 0.01), 1.0, 0),  # a long prompt
        (answered(0.5, 0.01, 1), 2.0, 64),  # one token has no gaps: its time says nothing of them
    ],
)
def test_how_much_of_an_answer_is_repeated(first, seconds, tokens):
    assert length(first, 64, seconds, 5.0) == tokens


def test_a_short_answer_is_repeated_as_a_whole():
    assert length(answered(0.1, 0.3, 4), 4, 1.0, 5.0) == 4


class Slow:
    """A clock that goes on by `each` seconds with every answer."""

    def __init__(self, monkeypatch, each: float) -> None:
        self.now, self.each, self.count = 0.0, each, 0
        monkeypatch.setattr(repeats.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(repeats, "once", self.once)

    def once(self, *_asked) -> Timing:
        self.now += self.each
        self.count += 1
        return answered(self.each / 64, self.each / 64)

    def all(self, first: float) -> list[int]:
        question = type("PromptInput", (), {"settings": type("Settings", (), {"max_new_tokens": 64})})
        steps = repeats.again(None, question, "cpu", threading.Event(), answered(first / 64, first / 64), 5.0)
        return list(steps)


@pytest.mark.parametrize(
    ("each", "repeated"),
    [(0.5, 2), (2.0, 2), (0.02, 14), (1e-4, 15)],
    ids=["three in all", "long ones", "short ones, until 0.3 s are timed", "very short ones"],
)
def test_how_many_answers_are_repeated(monkeypatch, each, repeated):
    clock = Slow(monkeypatch, each)
    assert clock.all(each) == list(range(1, repeated + 1)) and clock.count == repeated


def test_answers_that_turn_slow_are_not_repeated_past_the_limit(monkeypatch):
    clock = Slow(monkeypatch, 4.0)
    assert clock.all(1.0) == [1] and clock.count == 1, "a second one would end after 8 s"


def test_a_column_holds_the_shown_answer_and_its_repeats(llama):
    told = list(events(llama, NAMES, max_new_tokens=12))
    for run in done(told).runs:
        assert is_complete(run)
        assert len(run.ttft_samples) == len(run.decode_samples)
        assert (run.ttft_samples[0], run.decode_samples[0]) == (run.timing.ttft_s, run.timing.decode_tokens_per_s)
        assert min(run.decode_samples) <= run.decode_tokens_per_s <= max(run.decode_samples)
        assert run.cpu.own_s > 0 and run.cpu.wall_s >= sum(run.timing.itl_s)
        counted = [it.answers for it in told if isinstance(it, TimingAgain) and it.precision == run.precision]
        assert counted == list(range(1, len(run.decode_samples)))
        assert len(run.decode_samples) > 1 or "busy" in trust.doubt(run), "nothing else takes 5 s for 9 of its tokens"


def test_repeats_of_a_sampled_answer_draw_the_same_tokens(llama, monkeypatch):
    decoded: list[list[int]] = []
    plain = repeats.decode

    def decode(*asked):
        decoded.append([])
        for step in plain(*asked):
            decoded[-1].append(step.token_id)
            yield step

    monkeypatch.setattr(repeats, "decode", decode)
    monkeypatch.setattr(repeats, "length", lambda *_asked: 6)
    (run,) = compared(llama, ["fp32"], max_new_tokens=12, sample=True, temperature=1.5, seed=5).runs
    assert len(decoded) == len(run.decode_samples) - 1
    assert all(tuple(ids[: len(run.token_ids)]) == run.token_ids[: len(ids)] for ids in decoded)


def test_nothing_is_repeated_in_a_race(llama):
    told = list(events(llama, NAMES, race=True))
    assert not any(isinstance(it, TimingAgain) for it in told)
    for run in done(told).runs:
        assert run.decode_samples == (run.timing.decode_tokens_per_s,) and "race" in trust.doubt(run)


def test_stop_ends_the_repeats_at_once_and_keeps_the_answer(llama):
    stop, told = threading.Event(), []
    for event in events(llama, NAMES, stop=stop):
        told.append(event)
        if isinstance(event, TimingAgain):
            stop.set()
    first, second = done(told).runs
    assert is_complete(first) and not first.stopped and len(first.token_ids) == 8
    assert len(first.decode_samples) == len(first.ttft_samples) == 1 and trust.doubt(first)
    assert second.stopped and second.load is None
    assert sum(isinstance(it, TimingAgain) for it in told) == 1


def test_a_repeat_that_fails_costs_no_answer(llama, monkeypatch):
    def once(*_asked):
        raise OutOfMemory("No room.", "Free some.")

    monkeypatch.setattr(repeats, "once", once)
    for run in compared(llama, NAMES).runs:
        assert is_complete(run) and len(run.decode_samples) == 1


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many other programs that take whatever they get."""
    code = "print(flush=True)\nwhile True: pass"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for each in running:
            each.stdout.readline()  # it has begun
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
            each.stdout.close()


@pytest.mark.slow
def test_while_others_take_every_core_nothing_is_called_the_fastest(llama):
    cache = Loader().cache()
    compared(llama, NAMES, variants=cache)  # imports and loads are over before others come
    with busy(len(cores())):
        runs = compared(llama, NAMES, variants=cache, max_new_tokens=100).runs
    cache.drop_unused()
    assert all(run.decode_tokens_per_s for run in runs)
    assert trust.verdict(runs).fastest is None and trust.verdict(runs).doubts
    assert trust.said(runs).startswith("Which is the fastest is not said.")


def measured(tmp_path, names, cache: VariantCache, stop: threading.Event | None = None) -> list:
    settings = QualitySettings(windows=1, layers=False, noise_floor=False, placement=Placement("cpu", "float32"))
    found, stop = [], stop or threading.Event()
    store = ScoreStore(tmp_path, 10**9)
    for event in quality(DEMO, names, text("demo"), settings, scores=store, variants=cache, stop=stop):
        found.append(event)
    cache.drop_unused()
    assert isinstance(found[-1], QualityDone)
    return found


@pytest.mark.slow
def test_columns_in_memory_are_timed_in_turn_at_the_end(tmp_path):
    told = measured(tmp_path, NAMES, Loader().cache())
    again = [it.precision for it in told if isinstance(it, Measuring) and it.stage == "again"]
    assert again == [*NAMES, *NAMES]
    first, last = {}, {}
    for it in told:
        if isinstance(it, Measured):
            first.setdefault(it.run.precision, it.run)
            last[it.run.precision] = it.run
    for run in told[-1].quality.runs:
        assert last[run.precision] == run, "the history and the page have it too"
        before = first[run.precision].decode_samples
        assert run.decode_samples[:-2] == before != ()
        assert run.cpu.wall_s > first[run.precision].cpu.wall_s
        assert run.fidelity == first[run.precision].fidelity


def test_columns_that_do_not_fit_together_keep_their_first_round(tmp_path):
    sizes = estimates.estimated_bytes
    told = measured(tmp_path, ("fp32", "bf16"), VariantCache(Loader(), sizes, lambda _device, _held: 12_000_000))
    assert not any(isinstance(it, Measuring) and it.stage == "again" for it in told)
    assert sum(isinstance(it, Measured) for it in told) == 2
    assert all(run.decode_samples for run in told[-1].quality.runs)


@pytest.mark.slow
def test_stop_in_the_last_rounds_leaves_what_was_measured(tmp_path):
    stop, told = threading.Event(), []
    settings = QualitySettings(windows=1, layers=False, noise_floor=False, placement=Placement("cpu", "float32"))
    cache = Loader().cache()
    for it in quality(
        DEMO, NAMES, text("demo"), settings, scores=ScoreStore(tmp_path, 10**9), variants=cache, stop=stop
    ):
        told.append(it)
        if isinstance(it, Measuring) and it.stage == "again":
            stop.set()
    cache.drop_unused()
    assert not any(run.stopped or run.error for run in told[-1].quality.runs)
    assert sum(isinstance(it, Measured) for it in told) == 2


def test_a_comparison_says_that_it_is_finished_after_the_repeats(llama):
    kinds = [type(it) for it in events(llama, ["fp32"]) if isinstance(it, TimingAgain | Finished)]
    assert kinds[-1] is Finished and kinds.count(Finished) == 1
