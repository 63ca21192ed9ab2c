"""A model that gives something else in pieces than in one pass is refused, or read in one pass."""

import pytest
import torch
import transformers

from quantlab.errors import ModelError
from quantlab.runtime import pieces
from quantlab.runtime.session import Facts
from quantlab.runtime.torch_session import TorchModel

SIZES = dict(vocab_size=128, hidden_size=32, num_hidden_layers=2, bos_token_id=0, eos_token_id=1)


def loaded(config, dtype: str = "float32") -> TorchModel:
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return TorchModel(network, "cpu", Facts(dtype, "torch", {"": "cpu"}))


def llama():
    return transformers.LlamaConfig(**SIZES, num_attention_heads=4, intermediate_size=64)


def unproven(monkeypatch) -> None:
    monkeypatch.setattr(pieces, "PROVEN", frozenset())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_ordinary_model_passes(monkeypatch, dtype):
    unproven(monkeypatch)
    model = loaded(llama(), dtype)
    assert pieces.prove(model, "tiny") == () and not model.in_one_pass


def test_a_proven_kind_is_not_tried_again(monkeypatch):
    model = loaded(llama())
    monkeypatch.setattr(model, "start", lambda: pytest.fail("it was tried"))
    assert pieces.prove(model, "tiny") == ()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_class_that_ignores_its_cache_is_refused(monkeypatch, dtype):
    unproven(monkeypatch)
    model = loaded(llama(), dtype)
    forward = model.module.forward

    def forgetful(cache=None, past_key_values=None, logits_to_keep=0, **others):
        return forward(**others | {"use_cache": False}, logits_to_keep=logits_to_keep)

    model.module.forward = forgetful
    with pytest.raises(ModelError, match="token by token otherwise than in one pass"):
        pieces.prove(model, "tiny")


def test_a_model_that_looks_ahead_is_refused(monkeypatch):
    """BERT reads in both directions: what stands behind a token changes its logits."""
    config = transformers.BertConfig(
        **SIZES, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64, is_decoder=False
    )
    with pytest.raises(ModelError):
        pieces.prove(loaded(config), "tiny")


def test_states_that_take_several_tokens_only_at_the_beginning_are_read_in_one_pass(monkeypatch):
    unproven(monkeypatch)
    model = loaded(llama())
    forward = model.module.forward

    def starts_anew(input_ids=None, cache=None, past_key_values=None, **others):
        held = cache if cache is not None else past_key_values
        if input_ids.shape[1] > 1 and held.get_seq_length():
            held = transformers.DynamicCache(config=model.module.config)
        return forward(input_ids=input_ids, past_key_values=held, **others)

    model.module.forward = starts_anew
    (note,) = pieces.prove(model, "tiny")
    assert model.in_one_pass and "one pass" in note
    ids = list(range(3, 40))
    whole = model.start().logits(ids)
    session = model.start()
    read = torch.cat(list(session.read([*ids, 5], start=1, block=8)))
    assert torch.allclose(read, whole, atol=1e-5)
    # What is fed later in one call goes in token by token.
    session = model.start()
    session.forward(ids[:10])
    assert torch.allclose(session.forward(ids[10:]), whole[-1], atol=1e-4) and session.length == len(ids)


def test_the_measure_is_the_difference_in_units_of_the_spread():
    others = torch.tensor([[0.0, 2.0, 4.0], [1.0, 1.0, 4.0]])
    assert pieces.parted(others, others) == 0
    assert pieces.parted(others + torch.tensor([[0.0], [1.0]]), others) == pytest.approx(1 / 3**0.5)
    assert not pieces.parted(others * float("nan"), others) <= 1
