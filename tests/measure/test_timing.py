"""The stopwatch takes the time of each `next()` and of nothing else. The clock is the test's own."""

from types import SimpleNamespace

import pytest

from quantlab.measure import timing as module
from quantlab.measure.timing import Stopwatch


class Clock:
    """Moves when told to, so that the figures are exact on a busy machine too."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def items(self, *seconds: float):
        for i, wait in enumerate(seconds):
            self.pass_by(wait)
            yield i


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock))
    return clock


def test_each_item_has_its_own_time(clock):
    watch = Stopwatch(lambda: None)
    assert list(watch.watch(clock.items(8, 1, 4))) == [0, 1, 2]
    assert watch.seconds == [8, 1, 4]


def test_what_the_consumer_does_between_two_items_is_not_counted(clock):
    watch = Stopwatch(lambda: None)
    for _ in watch.watch(clock.items(1, 2, 3)):
        clock.pass_by(100)
    assert watch.seconds == [1, 2, 3]


def test_the_device_is_waited_for_before_every_reading(clock):
    """Work that a device does on its own counts for the item that began it, not for the next one."""
    pending = [50.0]  # begun before the watch: nobody's

    def synchronize() -> None:
        clock.pass_by(sum(pending))
        pending.clear()

    def asynchronous():
        for wait in (6.0, 1.0, 3.0):
            pending.append(wait)
            yield wait

    watch = Stopwatch(synchronize)
    for _ in watch.watch(asynchronous()):
        pending.append(20.0)  # the consumer's own work on the device
    assert watch.seconds == [6, 1, 3]


def test_the_clock_is_the_real_one_otherwise():
    import time

    def slow():
        time.sleep(0.05)
        yield 0

    watch = Stopwatch(lambda: None)
    list(watch.watch(slow()))
    assert 0.05 <= watch.seconds[0] < 2


def test_timing_takes_the_first_sample_for_the_prompt_and_the_others_for_the_gaps():
    watch = Stopwatch(lambda: None, [0.5, 0.1, 0.2, 0.1])
    timing = watch.timing(prompt_tokens=20, warmup_ttft_s=0.7)
    assert (timing.warmup_ttft_s, timing.ttft_s, timing.itl_s) == (0.7, 0.5, (0.1, 0.2, 0.1))
    assert timing.prefill_tokens_per_s == 40
    assert timing.decode_tokens_per_s == pytest.approx(3 / 0.4)


def test_one_token_has_no_gaps_and_no_rate():
    timing = Stopwatch(lambda: None, [0.5]).timing(10, None)
    assert timing.itl_s == () and timing.decode_tokens_per_s is None


def test_an_iterator_left_half_way_keeps_its_samples(clock):
    watch = Stopwatch(lambda: None)
    for item in watch.watch(clock.items(1, 2, 3, 4)):
        if item == 1:
            break
    assert watch.seconds == [1, 2]
