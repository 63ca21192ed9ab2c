"""The steps that make the demo model: outliers that change nothing, training that resumes."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from quantlab.demo.making import tokenizer, train
from quantlab.demo.making.outliers import add_outliers
from tests import tiny


@pytest.fixture
def network(tmp_path):
    tiny.write(tmp_path, "llama")
    return AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()


def test_outliers_leave_the_function_as_it_was(network):
    ids = torch.arange(20, 60).unsqueeze(0)
    with torch.no_grad():
        before = network(ids).logits.log_softmax(-1)
        add_outliers(network, sigma=0.7)
        after = network(ids).logits.log_softmax(-1)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-8)


def test_outliers_really_spread_the_channels(network):
    def spread() -> float:
        columns = network.model.layers[0].self_attn.q_proj.weight.norm(dim=0).log()
        return columns.std().item()

    before = spread()
    add_outliers(network, sigma=0.7)
    assert before < 0.3
    assert spread() == pytest.approx(0.7, abs=0.25)


def test_no_spread_changes_no_weight(network):
    before = {name: p.clone() for name, p in network.named_parameters()}
    add_outliers(network, sigma=0.0)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_training_that_was_interrupted_ends_like_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr(train, "BATCH_TOKENS", 256)
    monkeypatch.setattr(train, "SHORT_CONTEXT", 64)
    monkeypatch.setattr(tokenizer, "TOKENIZER_DOCUMENTS", 300)
    train.train(tmp_path / "whole", steps=4)
    train.train(tmp_path / "parts", steps=2)
    train.train(tmp_path / "parts", steps=4)
    whole, parts = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name / "trained", dtype=torch.float32).state_dict()
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_schedule_rises_holds_and_ends_at_zero():
    rates = [train.learning_rate(step) for step in range(train.STEPS)]
    assert max(rates) == train.PEAK_LR and rates[-1] == pytest.approx(0)
    assert rates[0] < rates[100] < train.PEAK_LR == rates[2_000]
