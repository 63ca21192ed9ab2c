"""Divergences from next to nothing to almost everything, and the error of a mean, against float64 and by simulation."""

import numpy as np
import pytest
import torch

from quantlab.fidelity.divergence import divergences
from quantlab.fidelity.figures import standard_error
from quantlab.fidelity.positions import compare, log_probabilities

VOCABULARY = 49_152


def exact(logits: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    p, q = others.double().log_softmax(-1), logits.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).numpy()


@pytest.mark.parametrize(("noise", "rel"), [(1e-5, 0.2), (1e-4, 0.02), (1e-3, 1e-3), (0.1, 1e-4), (3.0, 1e-4)])
def test_float32_gives_what_float64_gives(noise, rel):
    """By the plain sum in float32 the two smallest, about 5e-11 and 5e-9, were 1.2e-7 or nothing."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(8, VOCABULARY, generator=generator) * 3
    logits = others + noise * torch.randn(8, VOCABULARY, generator=generator)
    found = compare(logits, log_probabilities(others), torch.arange(8))
    assert found.kld == pytest.approx(exact(logits, others), rel=rel)
    assert found.kld_reverse == pytest.approx(exact(others, logits), rel=rel)
    assert (found.kld >= 0).all()


@pytest.mark.parametrize("wider", ["variant", "reference"])
@pytest.mark.parametrize(("noise", "rel"), [(1e-4, 0.02), (1e-3, 1e-3), (0.1, 1e-4)])
def test_a_vocabulary_padded_otherwise_costs_no_digits(noise, rel, wider):
    """The two sums of nearly one were subtracted in float32: an error of 1e-7, twenty times the smallest of these."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(8, VOCABULARY, generator=generator) * 3
    logits = others + noise * torch.randn(8, VOCABULARY, generator=generator)
    # Rows that nobody trained: next to no probability, and in one model only.
    padding = torch.full((8, 64), -20.0)
    if wider == "variant":
        logits = torch.cat([logits, padding], dim=-1)
    else:
        others = torch.cat([others, padding], dim=-1)
    q, p = (it.double().log_softmax(-1)[:, :VOCABULARY] for it in (logits, others))
    expected, reverse = ((x.exp() * (x - y)).sum(-1).numpy() for x, y in ((p, q), (q, p)))
    found = compare(logits, log_probabilities(others), torch.arange(8))
    assert found.kld == pytest.approx(expected, rel=rel) and found.kld_reverse == pytest.approx(reverse, rel=rel)


def test_far_apart_is_right_too():
    """Where one is e^200 times the other nothing overflows."""
    others = torch.full((1, 16), -100.0)
    others[0, 3] = 100.0
    logits = -others
    found = compare(logits, log_probabilities(others), torch.tensor([3]))
    assert found.kld == pytest.approx(exact(logits, others), rel=1e-5)
    assert found.kld_reverse == pytest.approx(exact(others, logits), rel=1e-5)


@pytest.mark.parametrize("shift", [0.0, 1e-6, -1e-6])
def test_rows_that_sum_to_one_but_for_rounding_make_no_distance(shift):
    p = torch.randn(4, 1000, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    forward, reverse = divergences(p, p + shift)
    assert (forward.abs() < 1e-11).all() and (reverse.abs() < 1e-11).all()


def test_nothing_against_something():
    never = float("-inf")
    p = torch.tensor([[0.5, 0.5, 0.0]]).log()
    q = torch.tensor([[0.25, 0.25, 0.5]]).log()
    assert p[0, 2] == never
    forward, reverse = divergences(p, q)
    assert float(forward) == pytest.approx(np.log(2)) and float(reverse) == float("inf")


def test_the_error_of_a_mean_is_that_of_repeated_experiments():
    """Windows whose tokens share an offset: as if they were independent the error would be three times too small."""
    generator, windows, each = np.random.default_rng(0), 20, 255
    cluster = np.repeat(np.arange(windows), each)
    means, ours, naive = [], [], []
    for _ in range(400):
        values = generator.normal(size=windows * each) + 0.2 * generator.normal(size=windows)[cluster]
        means.append(values.mean())
        ours.append(standard_error(values, cluster))
        naive.append(values.std(ddof=1) / np.sqrt(len(values)))
    assert np.mean(ours) == pytest.approx(np.std(means), rel=0.1)
    assert np.mean(naive) < 0.4 * np.std(means)


def test_of_one_window_alone_the_error_is_not_known():
    assert standard_error(np.array([1.0, 2.0, 4.0]), np.array([3, 3, 3])) is None


def test_windows_of_unequal_size_weigh_by_their_tokens():
    """By hand: totals 6 and 9 over 2 and 4 tokens, mean 2.5, excesses 1 and -1."""
    values, cluster = np.array([2.0, 4.0, 1.0, 2.0, 2.0, 4.0]), np.array([0, 0, 1, 1, 1, 1])
    assert standard_error(values, cluster) == pytest.approx(np.sqrt(2 / 1 * (1 + 1)) / 6)
