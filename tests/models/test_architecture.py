"""What a configuration says of the whole model: one answer for every caller."""

import pytest

from quantlab.models.architecture import context_length, not_causal, text_config


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 256}, 256),
        ({"n_positions": 1_024}, 1_024),
        ({"max_seq_len": 2_048}, 2_048),  # MPT
        ({"seq_length": 2_048, "n_head": 16}, 2_048),  # BLOOM as published
        ({"context_length": 1_024}, 1_024),  # RWKV
        ({"text_config": {"max_position_embeddings": 32}}, 32),
        ({"max_position_embeddings": 77, "text_config": {"max_position_embeddings": 32}}, 32),
        ({"max_position_embeddings": 77, "text_config": {"hidden_size": 8}}, 77),
        ({"decoder": {"n_positions": 64}}, 64),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": -1, "n_ctx": True}, None),  # MPT and others mark "no limit" so
        ({}, None),
    ],
)
def test_the_context_is_read_from_the_configuration(config, context):
    assert context_length(config) == context


def test_the_part_that_writes_is_found():
    assert text_config({"text_config": {"a": 1}, "vision_config": {"a": 2}}) == {"a": 1}
    assert text_config({"text_config": None, "a": 3}) == {"text_config": None, "a": 3}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "t5"}, "encoder with a decoder (t5)"),
        ({"model_type": "bart", "is_encoder_decoder": True}, "encoder with a decoder (bart)"),
        ({"model_type": "something", "is_encoder_decoder": True}, "encoder with a decoder"),
        ({"model_type": "bert"}, "in both directions (bert)"),
        ({"model_type": "bert", "is_decoder": False}, "in both directions"),
        ({"model_type": "xlm-roberta", "is_decoder": True}, "in both directions"),
        ({"model_type": "bart", "is_encoder_decoder": False, "is_decoder": True}, "encoder with a decoder (bart)"),
        ({"model_type": "cpmant"}, "expects the whole text at every token (cpmant)"),
    ],
)
def test_what_does_not_go_on_with_a_text_is_said(config, said):
    assert said in not_causal(config)


@pytest.mark.parametrize(
    "config", [{"model_type": "llama"}, {"model_type": "bert", "is_decoder": True}, {"model_type": "mamba"}, {}]
)
def test_what_goes_on_with_a_text_is_taken(config):
    assert not_causal(config) is None
