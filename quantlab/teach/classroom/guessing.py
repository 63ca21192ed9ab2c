"""How likely guessing alone gives so many right votes: the exact binomial test, one-sided.

Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.6.18 (binomial distribution); J. A. Rice, Mathematical
Statistics and Data Analysis, section 9.1 (tests of a null hypothesis). In whole numbers: of all ways in which everybody
could have guessed, each as likely as the others, those are counted that have so many right ones. Nothing is rounded
before the last division.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import comb


def at_least(right: int, votes: Mapping[int, int]) -> float:
    """P(X >= right), where X counts the right ones among guesses: `votes[n]` of them with n answers to choose from.

    Where all have the same n, X is binomial with p = 1 / n; else it is a sum of such. Raises ValueError for more right
    votes than votes, and for a choice among fewer than one.
    """
    if right < 0 or right > sum(votes.values()) or min(votes, default=1) < 1 or min(votes.values(), default=0) < 0:
        raise ValueError(f"{right} right votes of {dict(votes)}")
    return _at_least(right, tuple(sorted((n, count) for n, count in votes.items() if count)))


@lru_cache(maxsize=1_024)
def _at_least(right: int, votes: tuple[tuple[int, int], ...]) -> float:
    if not votes:
        return 1.0
    *others, (options, count) = votes
    ways = [1]
    for more, times in others:
        ways = _together(ways, _ways(more, times))
    # ways with at least k right ones, for every k; of fewer than none there are as many as of none
    last = [*reversed(list(accumulate(reversed(_ways(options, count))))), 0]
    found = sum(way * last[min(max(right - k, 0), count + 1)] for k, way in enumerate(ways))
    every = options**count
    for more, times in others:
        every *= more**times
    return float(Fraction(found, every))


def _ways(options: int, count: int) -> list[int]:
    """In how many ways `count` guesses among `options` give 0, 1 ... `count` right ones."""
    return [comb(count, right) * (options - 1) ** (count - right) for right in range(count + 1)]


def _together(one: list[int], other: list[int]) -> list[int]:
    ways = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            ways[i + j] += a * b
    return ways


def in_words(share: float) -> str:
    """A probability as what happens among classes: "in 3 of 100 classes"."""
    if share >= 0.995:
        return "in nearly every class" if share < 1 else "in every class"
    for classes in (100, 1_000, 10_000):
        if share * classes >= 0.95:
            return f"in {round(share * classes)} of {classes:,} classes"
    return "in fewer than 1 of 10,000 classes"
