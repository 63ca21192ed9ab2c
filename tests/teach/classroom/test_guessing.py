"""The test against guessing, held against scipy and against counting every way to guess."""

import itertools
from fractions import Fraction

import pytest

from quantlab.teach.classroom import guessing


@pytest.mark.parametrize(("right", "votes", "options"), [(17, 24, 2), (0, 5, 2), (5, 5, 3), (1, 1, 2), (9, 24, 3)])
def test_it_is_the_exact_binomial_test(right: int, votes: int, options: int):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, votes, 1 / options, alternative="greater").pvalue
    assert guessing.at_least(right, {options: votes}) == pytest.approx(expected, rel=1e-12)


def test_votes_among_two_and_among_three_are_counted_together():
    kinds = [2, 2, 2, 3, 3]
    for right in range(6):
        ways = [sum(guess == 0 for guess in each) for each in itertools.product(*(range(kind) for kind in kinds))]
        expected = Fraction(sum(found >= right for found in ways), len(ways))
        assert guessing.at_least(right, {2: 3, 3: 2}) == float(expected)


def test_a_thousand_votes_of_two_kinds_are_no_trouble():
    assert 0.4 < guessing.at_least(750, {2: 900, 3: 900}) < 0.6
    assert guessing.at_least(1_800, {2: 900, 3: 900}) == 0 < guessing.at_least(1_000, {2: 900, 3: 900})


@pytest.mark.parametrize(("right", "votes"), [(3, {2: 2}), (-1, {2: 2}), (0, {0: 1}), (1, {}), (0, {2: -1})])
def test_what_cannot_be_is_refused(right: int, votes: dict[int, int]):
    with pytest.raises(ValueError, match="right votes"):
        guessing.at_least(right, votes)


def test_nobody_voted():
    assert guessing.at_least(0, {}) == guessing.at_least(0, {2: 0}) == 1.0


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "in every class"),
        (0.999, "in nearly every class"),
        (0.75, "in 75 of 100 classes"),
        (0.03196, "in 3 of 100 classes"),
        (0.0095, "in 1 of 100 classes"),
        (0.004, "in 4 of 1,000 classes"),
        (0.0009, "in 9 of 10,000 classes"),
        (0.00001, "in fewer than 1 of 10,000 classes"),
    ],
)
def test_a_probability_in_words(share: float, words: str):
    assert guessing.in_words(share) == words
