"""The sampler: greedy, seeded, true to the distribution, with transformers' notion of top-k and top-p."""

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from quantlab.errors import BadInput
from quantlab.records import Settings
from quantlab.runtime.sampling import _keep_likely, sampler

VOCABULARY = 320


def logits(seed: int, size: int = VOCABULARY, spread: float = 2.0) -> torch.Tensor:
    return spread * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def draws(settings: Settings, table: torch.Tensor, count: int) -> list[int]:
    choose = sampler(settings)
    return [choose(table) for _ in range(count)]


def test_greedy_takes_the_likeliest_and_ignores_what_belongs_to_sampling():
    choose = sampler(Settings(sample=False, temperature=0, top_k=-1, top_p=9, seed=-1))
    for seed in range(50):
        table = logits(seed)
        assert choose(table) == max(range(VOCABULARY), key=lambda i: float(table[i]))
    assert isinstance(choose(table), int)


def test_one_seed_gives_one_sequence_and_another_seed_another():
    table = logits(0)
    first, again, other = (draws(Settings(sample=True, seed=seed), table, 64) for seed in (7, 7, 8))
    assert first == again != other
    assert len(set(first)) > 5, "every draw takes new random numbers"


def test_variants_that_hardly_differ_draw_the_same_tokens():
    """Two precisions see logits that differ in the last digits: the same noise keeps them together."""
    settings = Settings(sample=True, temperature=1, top_k=0, top_p=1)
    choose, choose_too = sampler(settings), sampler(settings)
    pairs = []
    for seed in range(300):
        table = logits(seed)
        noise = 1e-3 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed + 1))
        pairs.append((choose(table), choose_too(table + noise)))
    same = sum(a == b for a, b in pairs) / len(pairs)
    assert same > 0.98 and len({a for a, _ in pairs}) > 50


def test_the_dtype_of_the_logits_does_not_move_the_random_numbers():
    table = logits(3).bfloat16()
    settings = Settings(sample=True)
    assert draws(settings, table, 32) == draws(settings, table.float(), 32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature):
    """Pearson's chi-square with a fixed seed: 30.6 is its 99.97th percentile at 9 degrees of freedom."""
    table, count = logits(1, size=10, spread=1.0), 5_000
    settings = Settings(sample=True, temperature=temperature, top_k=0, top_p=1, seed=5)
    seen = torch.bincount(torch.tensor(draws(settings, table, count)), minlength=10).double()
    expected = count * (table.double() / temperature).softmax(-1)
    assert expected.min() > 5
    assert float(((seen - expected) ** 2 / expected).sum()) < 30.6


def test_what_is_cut_off_is_never_drawn_and_the_rest_keeps_its_proportions():
    table, count = logits(2, size=50), 5_000
    seen = torch.bincount(torch.tensor(draws(Settings(sample=True, top_k=5, top_p=1, temperature=1), table, count)))
    kept = table.topk(5).indices
    assert int(seen[kept].sum()) == count
    expected = table[kept].softmax(-1)
    torch.testing.assert_close(seen[kept] / count, expected, rtol=0, atol=0.025)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.8, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("top_k", [0, 1, 5, 50, VOCABULARY, 10_000])
def test_the_kept_tokens_are_those_of_transformers(seed, top_k, top_p):
    scores = logits(seed, spread=3.0)
    theirs = scores.unsqueeze(0)
    if top_k:
        theirs = TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(None, theirs)
    ours = _keep_likely(scores, top_k, top_p)
    assert torch.equal(ours, theirs[0])
    assert ours.isfinite().any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
        ({"top_p": float("nan")}, "top-p"),
        ({"top_k": -1}, "top-k"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(wrong, words):
    with pytest.raises(BadInput, match=words):
        sampler(Settings(sample=True, **wrong))


def test_the_largest_seed_works():
    assert draws(Settings(sample=True, seed=2**63 - 1), logits(0), 4)
