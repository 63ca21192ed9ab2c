"""What config.json says of sizes is held against the tensors of the files before anything is built by it."""

import json
import time

import pytest

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import plausible, shapes
from quantlab.records import TensorInfo
from quantlab.settings import AppSettings
from tests.tiny import letters, write

LAYER = "model.layers.{}.self_attn.q_proj.weight"


def tensors(layers: int = 2, experts: int = 0, rows: int = 320, columns: int = 64) -> dict[str, TensorInfo]:
    found = {LAYER.format(i): TensorInfo((64, 64), "F32") for i in range(layers)}
    found |= {f"model.layers.0.mlp.experts.{i}.up_proj.weight": TensorInfo((64, 64), "F32") for i in range(experts)}
    return found | {"model.embed_tokens.weight": TensorInfo((rows, columns), "F32")}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, and its files hold tensors of 2 layers"),
        ({"num_hidden_layers": 1e9}, "num_hidden_layers is 1,000,000,000.0, and"),
        ({"n_layer": 300}, "n_layer is 300, and its files hold tensors of 2 layers"),
        ({"text_config": {"num_hidden_layers": 10**6}}, "text_config.num_hidden_layers is 1,000,000"),
        ({"vision_config": {"depth": 10**6}}, "vision_config.depth is 1,000,000"),
        ({"num_experts": 10**6}, "num_experts is 1,000,000, and its files hold 0 experts"),
        ({"num_local_experts": 10**6}, "num_local_experts"),
        ({"vocab_size": 10**12}, "vocab_size is 1,000,000,000,000, and the largest tensor .* of 320"),
        ({"vocab_size": 50_000}, "vocab_size is 50,000, and the embeddings of its files have 320 tokens"),
        ({"hidden_size": 128}, "hidden_size is 128, and the embeddings of its files have 64 columns"),
        ({"text_config": {"hidden_size": 4096}}, "hidden_size is 4,096, and the embeddings"),
        ({"intermediate_size": 2**40}, "intermediate_size is 1,099,511,627,776"),
        ({"num_attention_heads": 10**9}, "num_attention_heads is 1,000,000,000"),
        ({"d_ff": 10**9}, "d_ff"),
        ({"ssm_state_size": 10**9}, "ssm_state_size"),
        ({"n_positions": 10**12}, "n_positions is 1,000,000,000,000, more than any model reads"),
        ({"hidden_size": -64}, "hidden_size is -64, and a size is positive"),
        ({"num_attention_heads": -4}, "num_attention_heads is -4"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"hidden_size": 1e400}, "hidden_size is inf"),
    ],
)
def test_a_size_that_cannot_be_is_named(values, said):
    import re

    assert re.search(said, plausible.wrong(values, tensors()) or "")


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 320, "max_position_embeddings": 10_485_760},
        {"num_hidden_layers": 1},  # layers that are left out
        {"hidden_size": 1024, "word_embed_proj_dim": 64},  # OPT's embeddings may be narrower
        {"vocab_size": 100},  # padded
        {"bos_token_id": 10**9, "rope_theta": 10**9, "seed": 10**12, "training_tokens": 10**13, "n_params": 10**12},
        {"num_key_value_heads": -1, "sliding_window": -1, "pad_token_id": -1, "n_recurrent_layers": -28},
        {"num_hidden_layers": True, "hidden_size": None, "vocab_size": "many", "num_experts": [3]},
        {"vision_config": {"num_hidden_layers": 27, "hidden_size": 1152}},  # whose weights are not there
        {},
    ],
)
def test_what_can_be_is_let_through(values):
    assert plausible.wrong(values, tensors()) is None


def test_counts_go_by_the_files():
    assert plausible.wrong({"num_hidden_layers": 400, "num_experts": 2000}, tensors(400, 1000)) is None
    assert plausible.wrong({"num_hidden_layers": 10**6}, {"weight": TensorInfo((64, 64), "F32")})
    assert plausible.wrong({"vocab_size": 10**9}, {})
    packed = {"model.embed_tokens.weight": TensorInfo((320, 8), "U32")}
    assert plausible.wrong({"hidden_size": 64, "vocab_size": 320}, packed) is None


@pytest.mark.parametrize("name", shapes.names())
def test_published_architectures_are_let_through(name):
    config = shapes.shape_config(name)
    assert plausible.wrong(config, shapes.shape_tensors(config)) is None


def test_a_model_is_refused_at_once(tmp_path):
    write(tmp_path, "qwen2-alternating", letters())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 10**9}))
    begun = time.perf_counter()
    for look in (models.resolve, models.peek):
        with pytest.raises(ModelError, match=r"num_hidden_layers is 1,000,000,000.*tensors of 2 layers"):
            look(str(tmp_path), AppSettings())
    assert time.perf_counter() - begun < 1
