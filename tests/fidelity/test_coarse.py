"""The divergence over a few tokens, against the full one and against plain loops."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from quantlab.fidelity.coarse import coarse_kld

LOGITS = st.lists(st.floats(-8, 8), min_size=6, max_size=6)


def log_probabilities(logits: list[float]) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float64).log_softmax(-1)


def by_name(text: str) -> tuple[int, ...]:
    return (int(text),) if text.isdigit() else ()


@given(LOGITS, LOGITS, st.integers(1, 5))
def test_it_is_the_divergence_of_the_coarse_distributions_and_at_most_the_full_one(ours, theirs, k):
    q, p = log_probabilities(ours), log_probabilities(theirs)
    best = q.topk(k)
    told = {str(i): v for i, v in zip(best.indices.tolist(), best.values.tolist(), strict=True)}
    found = coarse_kld(p, told, by_name)
    kept = [int(it) for it in told]
    rest = [i for i in range(6) if i not in kept]
    pairs = [(math.exp(p[i]), math.exp(q[i])) for i in kept]
    pairs.append((sum(math.exp(p[i]) for i in rest), max(sum(math.exp(q[i]) for i in rest), 1e-6)))
    exact = max(sum(a * math.log(a / b) for a, b in pairs), 0.0)
    assert math.isclose(found, exact, rel_tol=1e-6, abs_tol=1e-6)
    assert 0 <= found <= float((p.exp() * (p - q)).sum()) + 1e-6


def test_a_token_without_an_id_is_one_of_the_others():
    p = log_probabilities([2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    one = {"0": float(p[0])}
    assert coarse_kld(p, one, by_name) < 1e-6
    assert coarse_kld(p, {**one, "\ufffd": math.log(0.2)}, by_name) == coarse_kld(p, one, by_name)
    assert coarse_kld(p, {"\ufffd": -0.1}, by_name) < 1e-6, "nothing is known then"


def test_what_the_reference_rules_out_adds_nothing_of_its_own():
    p = torch.tensor([0.0, -math.inf])
    assert math.isclose(coarse_kld(p, {"0": math.log(0.5), "1": math.log(0.5)}, by_name), math.log(2))
