"""Student's t against the printed table, and the paired test against a worked example."""

import math
import random

import pytest

from quantlab.measure.paired import critical, difference, estimate, within

# NIST/SEMATECH e-Handbook, 1.3.6.7.2: two-sided 95 % and 99 % (the columns 0.975 and 0.995).
TABLE = {1: (12.706, 63.657), 2: (4.303, 9.925), 3: (3.182, 5.841), 7: (2.365, 3.499), 10: (2.228, 3.169),
         30: (2.042, 2.750), 100: (1.984, 2.626)}  # fmt: skip


@pytest.mark.parametrize("freedom", TABLE)
def test_critical_values_are_those_of_the_table(freedom: int):
    assert (critical(freedom), critical(freedom, 0.99)) == pytest.approx(TABLE[freedom], abs=5e-4)


def test_many_samples_give_the_normal_value_and_none_give_an_error():
    assert critical(20_000) == pytest.approx(1.95996, abs=2e-4)
    assert within(0.0, 5) == 0.0 and within(1e9, 4) == pytest.approx(1.0)
    with pytest.raises(ValueError):
        critical(0)


def test_the_paired_difference():
    ours, theirs = (30.0, 31.0, 34.0, 40.0, 36.0), (28.0, 31.0, 31.0, 35.0, 31.0)
    found = difference(ours, theirs)
    # Differences 2 0 3 5 5: mean 3, variance 4.5, standard error sqrt(4.5 / 5), t = 3.16 > 2.776.
    assert (found.n, found.mean, found.se) == (5, 3.0, pytest.approx(math.sqrt(0.9)))
    assert found.apart and found.margin == pytest.approx(2.7764 * math.sqrt(0.9), rel=1e-4)
    assert difference(theirs, ours).mean == -3.0 and difference(theirs, ours).apart


def test_what_does_not_pair():
    assert difference((1.0, 2.0), (1.0, 2.0, 3.0)) is None
    assert difference((1.0, None, 2.0), (None, 1.0, 1.0)) is None
    assert estimate((1.0,)) is None and estimate((math.nan, math.inf, 1.0)) is None
    assert estimate((1.0, None, 3.0)).n == 2


def test_needed_samples_are_about_enough():
    """With as many samples as it asks for, drawn the same way, the test tells the two apart about half the time."""
    draw = random.Random(7)
    told = 0
    small = [draw.gauss(0.3, 1) for _ in range(12)]
    scale = [(x - sum(small) / 12) for x in small]
    sd = math.sqrt(sum(x * x for x in scale) / 11)
    exact = estimate([0.3 + x / sd for x in scale])
    assert not exact.apart and exact.mean == pytest.approx(0.3)
    assert exact.needed == math.ceil(12 * (exact.critical / math.sqrt(12) / 0.3) ** 2)
    for _ in range(200):
        told += estimate([draw.gauss(0.3, 1) for _ in range(exact.needed)]).apart
    assert 80 <= told <= 160


def test_no_difference_asks_for_no_number():
    assert estimate((1.0, -1.0)).needed is None
    assert estimate((1.0, -1.0, 1e-300)).needed is None
    same = estimate((2.0, 2.0, 2.0))
    assert same.apart and same.needed == 0
