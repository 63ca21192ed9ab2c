"""How often one visitor may do something, also where the clock of the wall jumps."""

import time

import pytest

from quantlab.errors import BadInput
from quantlab.ui.hosting.rate import Rate, RunRate
from quantlab.ui.hosting.visitors import Visitors


@pytest.fixture
def jump(monkeypatch):
    """Set the clock on, or back, by so many seconds."""
    right, off = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: right() + off[0])

    def by(seconds: float) -> None:
        off[0] += seconds

    return by


def test_each_visitor_has_his_own_rate():
    rate = Rate("2/minute")
    assert [rate.hit("ann") for _ in range(3)] == [True, True, False]
    assert rate.reached("ann") and 50 < rate.left_s("ann") <= 60
    assert rate.hit("ben") and not rate.reached("ben")


def test_a_clock_that_is_set_on_lets_him_in_early(jump):
    rate = Rate("2/minute")
    assert rate.hit("ann") and rate.hit("ann")
    jump(61)
    assert not rate.reached("ann") and rate.hit("ann")


@pytest.mark.parametrize("back", [3_600, 365 * 24 * 3_600])
def test_a_clock_that_is_set_back_holds_nobody_off_for_longer_than_the_rate(back, jump):
    rate = Rate("2/minute")
    assert rate.hit("ann") and rate.hit("ann")
    jump(-back)
    assert not rate.reached("ann")
    assert [rate.hit("ann") for _ in range(3)] == [True, True, False]
    assert rate.left_s("ann") <= 60


def test_no_text_is_no_rate_and_what_is_none_is_refused():
    RunRate("  ", Visitors(behind_proxy=False)).check()
    with pytest.raises(BadInput, match="is no rate: often"):
        RunRate("often", Visitors(behind_proxy=False))
