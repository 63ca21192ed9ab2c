"""Where variants part, and how far apart they are, against plain float64 arithmetic."""

import math
from dataclasses import replace

import numpy
import pytest
import torch

from quantlab.fidelity import divergence as module
from quantlab.fidelity.divergence import (
    TopTokens,
    divergence,
    first_difference,
    nonfinite,
    score_answer,
    token_differences,
    top_tokens,
)
from tests import tiny
from tests.loading import load

VOCABULARY, POSITIONS = 50, 12
ANSWER = list(range(POSITIONS))
TOKENS = [f"<{i}>" for i in ANSWER]


def tables(seed: int, distance: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of a variant and of the reference, `distance` apart."""
    generator = torch.Generator().manual_seed(seed)
    reference = 3 * torch.randn(POSITIONS, VOCABULARY, generator=generator)
    ours = reference + distance * torch.randn(POSITIONS, VOCABULARY, generator=generator)
    return ours.log_softmax(-1), reference.log_softmax(-1)


def test_figures_are_those_of_plain_arithmetic():
    ours, reference = tables(0, distance=1.5)
    found = token_differences(ours, reference, ANSWER, TOKENS)
    assert [one.token for one in found] == TOKENS
    # Tables in float32 sum to one but for rounding, which is no distance.
    q, p = (table.double().log_softmax(-1).numpy() for table in (ours, reference))
    for i, one in enumerate(found):
        assert one.kld == pytest.approx(sum(math.exp(p[i, v]) * (p[i, v] - q[i, v]) for v in range(VOCABULARY)))
        assert one.probability == pytest.approx(math.exp(q[i, ANSWER[i]]))
        assert one.reference_probability == pytest.approx(math.exp(p[i, ANSWER[i]]))
        best = int(numpy.argmax(q[i]))
        assert one.same_top == (best == int(numpy.argmax(p[i])))
        assert one.rank == 1 + sorted(p[i], reverse=True).index(p[i, best])
    assert {one.same_top for one in found} == {True, False} and max(one.rank for one in found) > 1


def test_the_reference_is_at_no_distance_from_itself():
    _, reference = tables(1)
    for one in token_differences(reference, reference, ANSWER, TOKENS):
        assert (one.kld, one.same_top, one.rank) == (0.0, True, 1)
        assert one.probability == one.reference_probability


def test_rounding_never_makes_a_divergence_negative():
    ours, reference = tables(2, distance=1e-7)
    assert all(one.kld >= 0 for one in token_differences(ours, reference, ANSWER, TOKENS))


@pytest.mark.parametrize("padded", ["ours", "reference"])
def test_of_two_padded_vocabularies_the_smaller_one_counts(padded):
    ours, reference = tables(3)
    expected = token_differences(ours, reference, ANSWER, TOKENS)
    longer = {"ours": ours, "reference": reference}
    longer[padded] = torch.cat([longer[padded], torch.full((POSITIONS, 14), -40.0)], dim=-1)
    found = token_differences(longer["ours"], longer["reference"], ANSWER, TOKENS)
    assert [replace(one, kld=0) for one in found] == [replace(one, kld=0) for one in expected]
    assert [one.kld for one in found] == pytest.approx([one.kld for one in expected], abs=1e-6)


def test_a_token_that_the_reference_excludes_adds_nothing():
    ours, reference = tables(4)
    reference[:, 30:] = -math.inf
    reference = reference.log_softmax(-1)
    ours_too = ours.clone()
    ours_too[5, 40:] = -math.inf  # 0 * (-inf + inf) is no number by itself
    ours_too = ours_too.log_softmax(-1)
    for table in (ours, ours_too):
        found = token_differences(table, reference, ANSWER, TOKENS)
        q, p = table.double().log_softmax(-1)[:, :30], reference.double().log_softmax(-1)[:, :30]
        expected = (p.exp() * (p - q)).sum(-1).tolist()
        assert [one.kld for one in found] == pytest.approx(expected)
        assert all(math.isfinite(one.kld) for one in found)


def test_a_token_that_only_the_variant_excludes_is_infinitely_far():
    ours, reference = tables(5)
    ours[3, 7] = -math.inf
    found = token_differences(ours, reference, ANSWER, TOKENS)
    assert [math.isinf(one.kld) for one in found] == [i == 3 for i in ANSWER]


@pytest.mark.parametrize("broken", ["ours", "reference", "both"])
def test_what_is_not_a_number_stays_visible(broken):
    ours, reference = tables(6)
    for name, table in (("ours", ours), ("reference", reference)):
        if broken in (name, "both"):
            table[4] = math.nan
    found = token_differences(ours, reference, ANSWER, TOKENS)
    assert len(found) == POSITIONS
    assert [math.isnan(one.kld) for one in found] == [i == 4 for i in ANSWER]
    assert not found[4].same_top
    assert math.isnan(found[4].probability) == (broken != "reference")
    assert math.isnan(found[4].reference_probability) == (broken != "ours")


def test_nonfinite_counts_every_kind():
    logits = torch.zeros(10)
    assert nonfinite(logits) == 0
    logits[1], logits[2], logits[3] = math.nan, math.inf, -math.inf
    assert nonfinite(logits) == 3


@pytest.mark.parametrize(
    ("ours", "reference", "index"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2, 3], [1, 9, 3], 1),
        ([8, 2, 3], [1, 2, 3], 0),
        ([1, 2], [1, 2, 3], None),
        ([], [1], None),
    ],
)
def test_first_difference(ours, reference, index):
    assert first_difference(ours, reference) == index


def test_divergence_shows_both_tables_at_the_first_difference():
    tops = [TopTokens((5, 6), (0.6, 0.3)), TopTokens((7, 5), (0.5, 0.4))]
    theirs = [TopTokens((5, 6), (0.7, 0.2)), TopTokens((6, 7), (0.9, 0.1))]
    texts = {5: "a", 6: "b", 7: "c"}
    parted = divergence([5, 7], [5, 6], tops, theirs, texts)
    assert parted.index == 1
    assert [(c.token_id, c.text, c.probability) for c in parted.ours] == [(7, "c", 0.5), (5, "a", 0.4)]
    assert [c.text for c in parted.reference] == ["b", "c"]
    assert divergence([5, 6], [5, 6], theirs, theirs, texts) is None


def test_top_tokens_are_the_five_likeliest_best_first():
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0))
    top = top_tokens(logits, int(logits.argmax()))
    expected = sorted(range(VOCABULARY), key=lambda i: -float(logits[i]))[:5]
    assert list(top.token_ids) == expected
    assert list(top.probabilities) == pytest.approx([float(logits.softmax(-1)[i]) for i in expected])


def test_top_tokens_hold_the_token_that_was_taken():
    logits = torch.zeros(VOCABULARY, dtype=torch.bfloat16)
    logits[[3, 9, 20, 30]] = 4.0  # 16 bits make ties common
    for chosen in (3, 9, 20, 30):
        assert top_tokens(logits, chosen).token_ids[0] == chosen
    drawn = top_tokens(logits, 41)  # one that sampling took from far below
    assert 41 in drawn.token_ids and set(drawn.token_ids) >= {3, 9, 20, 30}
    assert drawn.probabilities == tuple(sorted(drawn.probabilities, reverse=True))
    assert top_tokens(torch.zeros(3), 2).token_ids[0] == 2, "a vocabulary smaller than the table"


@pytest.mark.slow
def test_scores_of_an_answer_are_cut_to_what_the_host_may_keep(tmp_path, monkeypatch):
    loaded = load(tiny.write(tmp_path, "llama"), "fp32")
    prompt, answer = [1, *range(40, 60)], list(range(70, 100))
    whole = score_answer(loaded.start(), prompt, answer, loaded.vocabulary_size)
    assert whole.shape == (30, 320) and whole.dtype == torch.float32
    monkeypatch.setattr(module, "REFERENCE_BYTES", 4 * 320 * 7)
    cut = score_answer(loaded.start(), prompt, answer, loaded.vocabulary_size)
    torch.testing.assert_close(cut, whole[:7], rtol=1e-4, atol=1e-4)
    assert len(token_differences(cut, cut, answer, [str(i) for i in answer])) == 7
    assert len(score_answer(loaded.start(), prompt, answer[:1], loaded.vocabulary_size)) == 1
    loaded.close()


def test_the_likeliest_tokens_of_both_stand_at_every_position():
    torch.manual_seed(1)
    ours, reference = (torch.randn(3, 20).log_softmax(-1) for _ in range(2))
    for position, one in enumerate(token_differences(ours, reference, (1, 2, 3), ("a", "b", "c"), "<{}>".format)):
        for found, table in ((one.ours, ours), (one.theirs, reference)):
            expected = table[position].exp().sort(descending=True)
            assert [it.token_id for it in found] == expected.indices[:5].tolist()
            assert [it.probability for it in found] == pytest.approx(expected.values[:5].tolist())
            assert [it.text for it in found] == [f"<{it.token_id}>" for it in found]
