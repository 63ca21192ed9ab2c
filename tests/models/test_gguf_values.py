"""Values in a GGUF header that would end the process inside llama.cpp are refused before it sees them."""

import math
from dataclasses import replace

import pytest

from quantlab.errors import ModelError
from quantlab.models.gguf.files import check_headers
from quantlab.models.gguf.header import GgufHeader
from quantlab.records import TensorInfo

GOOD = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.context_length": 512,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": [2, 2],
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 10_000.0,
    "tokenizer.ggml.tokens": ["a"] * 300,
}
SHAPES = {"token_embd.weight": (300, 64), "blk.0.attn_q.weight": (64, 64), "blk.1.attn_q.weight": (64, 64)}


def header(**changed) -> GgufHeader:
    tensors = {name: TensorInfo(shape, "F32") for name, shape in SHAPES.items()}
    sizes = dict.fromkeys(tensors, 0)
    metadata = GOOD | {key.replace("__", "."): value for key, value in changed.items()}
    return GgufHeader(metadata, tensors, sizes, sizes)


def test_a_good_header_passes():
    assert check_headers([header()], "m.gguf", "m.gguf").architecture == "llama"
    assert check_headers([header(llama__expert_count=0, llama__attention__sliding_window=0)], "m.gguf", "m")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, 2.0, "x", None])
def test_an_epsilon_that_is_none(value):
    made = header(llama__attention__layer_norm_rms_epsilon=value)
    if value is None:
        assert check_headers([made], "m.gguf", "m")
        return
    with pytest.raises(ModelError, match=r"llama\.attention\.layer_norm_rms_epsilon is"):
        check_headers([made], "m.gguf", "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", 4_294_967_295),
        ("llama.block_count", 200),
        ("llama.block_count", -1),
        ("llama.block_count", "2"),
        ("llama.embedding_length", 63),
        ("llama.embedding_length", 0),
        ("llama.attention.head_count", -4),
        ("llama.attention.head_count_kv", [2, -2]),
        ("llama.context_length", 2**40),
        ("llama.rope.freq_base", math.nan),
        ("llama.rope.freq_base", 0.0),
        ("llama.expert_count", 2**31),
        ("tokenizer.ggml.tokens", ["a"] * 301),
        ("split.count", "2"),
    ],
)
def test_a_value_that_cannot_be_is_named(key, value):
    made = header()
    with pytest.raises(ModelError):
        check_headers([replace(made, metadata=made.metadata | {key: value})], "m.gguf", "m")
