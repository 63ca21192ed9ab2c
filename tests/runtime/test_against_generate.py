"""Our loop and transformers' `generate` must give the same greedy tokens, for every architecture we claim."""

import pytest

from quantlab import models
from quantlab.methods import method_of, precision
from quantlab.records import Placement, Settings, silent
from quantlab.runtime.decode import decode
from quantlab.runtime.placement import resolve
from quantlab.runtime.sampling import sampler
from quantlab.teach.plan.memory import kv_cache_bytes
from quantlab.teach.plan.network import network
from tests import tiny
from tests.engine_tools import generated, greedy

PROMPT = [1, *range(40, 70)]
NEW = 32


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_greedy_tokens_equal_generate(tmp_path, family):
    model = tiny.write(tmp_path, family)
    expected = generated(tmp_path, PROMPT, NEW)
    assert len(set(expected)) >= 10, "an output this monotonous shows nothing"
    assert greedy(model, Placement("cpu"), "fp32", PROMPT, NEW) == expected


def test_sharded_folder_equals_whole_one(tmp_path):
    model = tiny.write(tmp_path, "qwen2-untied-biases", shard="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert greedy(model, Placement("cpu"), "fp32", PROMPT, NEW) == generated(tmp_path, PROMPT, NEW)


@pytest.mark.parametrize("family", ["mistral-sliding", "gemma2-alternating", "qwen2-alternating"])
def test_sliding_layers_really_slide(tmp_path, family):
    """The equality above would be empty if the windows were not in force: prompts are longer than they are."""
    model = tiny.write(tmp_path, family)
    chosen = precision("fp32")
    loaded = method_of(chosen).load(model, chosen, resolve(Placement("cpu")), silent)
    session = loaded.start()
    list(decode(session, PROMPT, NEW, sampler(Settings())))
    config = loaded.module.config
    # Mistral has one window for all its layers and no list of kinds.
    kinds = ["sliding_attention"] * 2 if family == "mistral-sliding" else config.layer_types
    assert config.sliding_window == tiny.WINDOW and "sliding_attention" in kinds
    full = len(PROMPT) + NEW - 1
    expected = [tiny.WINDOW - 1 if kind == "sliding_attention" else full for kind in kinds]
    per_token = 2 * config.num_key_value_heads * 16 * 4  # keys and values, head size 16, float32
    assert session.kv_cache_bytes() == sum(expected) * per_token
    planned = network(models.checkpoint(model), family)
    assert kv_cache_bytes(planned, full, 1, "f32") == session.kv_cache_bytes()


def test_split_over_two_devices_gives_the_same_tokens(tmp_path):
    """CPU and disk here; the mechanism (accelerate's hooks) is the one that spreads layers over GPUs."""
    model = tiny.write(tmp_path, "llama")
    split = (
        ("model.embed_tokens", "cpu"),
        ("model.layers.0", "cpu"),
        ("model.layers.1", "disk"),
        ("model.norm", "cpu"),
        ("model.rotary_emb", "cpu"),
        ("lm_head", "cpu"),
    )
    assert greedy(model, Placement("cpu", device_map=split), "fp32", PROMPT, NEW) == generated(tmp_path, PROMPT, NEW)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4", "rtn-4", "rtn-3"])
def test_cuda_runs_every_method(tmp_path, name):
    model = tiny.write(tmp_path, "llama")
    tokens = greedy(model, Placement("cuda"), name, PROMPT, NEW)
    assert len(tokens) == NEW
    if name == "fp32":
        assert tokens == generated(tmp_path, PROMPT, NEW)
