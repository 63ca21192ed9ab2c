"""Positions by hand, and what happens to logits that are no numbers."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch

from quantlab.errors import ModelError, NotFinite
from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.positions import compare, log_probabilities

INF, NAN = float("inf"), float("nan")


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def test_two_distributions_by_hand():
    found = compare(logs(0.5, 0.25, 0.25), log_probabilities(logs(0.25, 0.5, 0.25)), torch.tensor([0]))
    assert found.kld[0] == pytest.approx(0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25))
    assert found.kld_reverse[0] == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    assert not found.same_top[0] and found.confidence[0] == pytest.approx(0.5)
    assert (found.nll[0], found.reference_nll[0]) == pytest.approx((math.log(2), math.log(4)))


def test_a_token_without_probability_adds_nothing():
    found = compare(logs(0.5, 0.5, 0.0), log_probabilities(logs(0.5, 0.5, 0.0)), torch.tensor([0]))
    assert found.kld[0] == found.kld_reverse[0] == 0 and found.nonfinite == 1
    one_sided = compare(logs(0.25, 0.25, 0.5), log_probabilities(logs(0.5, 0.5, 0.0)), torch.tensor([0]))
    assert one_sided.kld[0] == pytest.approx(math.log(2)) and one_sided.kld_reverse[0] == INF


@pytest.mark.parametrize("bad", [NAN, INF])
def test_logits_that_are_no_numbers_are_counted_and_left_out(bad):
    logits = torch.randn(6, 20)
    reference = log_probabilities(torch.randn(6, 20))
    whole = fidelity(compare(logits[1:], reference[1:], torch.arange(5)), 1)
    logits[0, 3] = bad
    found = fidelity(compare(logits, reference, torch.tensor([0, *range(5)])), 1)
    assert (found.nonfinite, found.excluded, found.tokens) == (1, 1, 5)
    assert astuple(replace(found.kld, se=0)) == pytest.approx(astuple(replace(whole.kld, se=0)), rel=1e-5)
    assert (found.ppl.value, found.ppl.ratio) == pytest.approx((whole.ppl.value, whole.ppl.ratio))
    assert found.window_kld == pytest.approx(whole.window_kld, rel=1e-5)


def test_a_window_without_numbers_has_no_mean():
    logits, reference = torch.randn(6, 20), log_probabilities(torch.randn(6, 20))
    logits[:3] = NAN
    found = fidelity(compare(logits, reference, torch.arange(6)), 2)
    assert found.window_kld[0] is None and found.window_kld[1] == pytest.approx(found.kld.mean)
    assert (found.nonfinite, found.excluded) == (60, 3)


def test_nothing_but_bad_logits_is_an_error():
    with pytest.raises(NotFinite, match="120 of its logits are infinite or not a number"):
        fidelity(compare(torch.full((6, 20), NAN), log_probabilities(torch.randn(6, 20)), torch.arange(6)), 1)


def test_nothing_but_bad_logits_of_the_reference_is_not_this_ones_fault():
    with pytest.raises(ModelError, match="The reference gives no token of this text a probability") as caught:
        fidelity(compare(torch.randn(6, 20), torch.full((6, 20), NAN), torch.arange(6)), 1)
    assert not isinstance(caught.value, NotFinite)


def test_the_wider_vocabulary_is_cut():
    logits, reference = torch.randn(4, 24), log_probabilities(torch.randn(4, 20))
    found = compare(logits, reference, torch.arange(4))
    q = logits.double().log_softmax(-1)[:, :20]
    expected = (reference.double().exp() * (reference.double() - q)).sum(-1)
    np.testing.assert_allclose(found.kld, expected.numpy(), rtol=1e-4)


def test_sixteen_bits_are_widened_first():
    logits, reference = torch.randn(4, 20).bfloat16(), log_probabilities(torch.randn(4, 20))
    found = compare(logits, reference, torch.arange(4))
    np.testing.assert_array_equal(found.kld, compare(logits.float(), reference, torch.arange(4)).kld)
