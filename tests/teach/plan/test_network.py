"""Keys and values as planned, against those that transformers keeps; activations, against those that it holds."""

import weakref
from math import prod

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from quantlab.errors import BadInput, ModelError
from quantlab.models.shapes import shape_config
from quantlab.records import Checkpoint
from quantlab.runtime.torch_session import Call, TorchSession, cached_tensors
from quantlab.teach.plan.memory import KV_TYPES, activation_bytes, kv_cache_bytes, kv_type
from quantlab.teach.plan.network import network
from tests import tiny
from tests.architectures.configs import config as small_config

#: One of each way to keep keys and values: grouped, shared by all heads, in windows, heads of two sizes, latent.
OTHERS = ("falcon", "gpt_bigcode", "gemma3_text", "gemma4_text", "gpt_oss", "deepseek_v3", "opt", "bloom")
PROMPT, NEW = list(range(5, 35)), 3


def built(config) -> torch.nn.Module:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def planned_network(model: torch.nn.Module):
    return network(Checkpoint(model.config.to_dict(), {}, 0), "it")


def measured(model: torch.nn.Module) -> int:
    """`kv_cache_bytes` of a session after a prompt and some tokens."""
    session = TorchSession(model, torch.device("cpu"), Call.of(model))
    session.forward(PROMPT)
    for token in range(NEW):
        session.forward([7 + token])
    return session.kv_cache_bytes()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_keys_and_values_are_those_of_a_session(family):
    model = built(tiny.FAMILIES[family]())
    assert kv_cache_bytes(planned_network(model), len(PROMPT) + NEW, 1, "f32") == measured(model) > 0


@pytest.mark.parametrize("kind", OTHERS)
def test_keys_and_values_of_other_kinds_are_those_of_a_session(kind):
    model = built(small_config(kind))
    assert kv_cache_bytes(planned_network(model), len(PROMPT) + NEW, 1, "f32") == measured(model) > 0


@pytest.mark.parametrize("kind", ["qwen3_next", "bamba", "lfm2_moe"])
def test_layers_with_a_state_keep_no_keys_and_values(kind):
    model = built(small_config(kind))
    cache = transformers.DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.tensor([PROMPT]), **{Call.of(model).cache: cache}, use_cache=True)
    held = [(layer.keys, layer.values) for layer in cache.layers if getattr(layer, "keys", None) is not None]
    found = planned_network(model)
    assert kv_cache_bytes(found, len(PROMPT), 1, "f32") == sum(it.nbytes for pair in held for it in pair) > 0
    assert found.stateful == found.layers - len(held) > 0


@pytest.mark.parametrize("family", ["llama", "mistral-sliding"])
def test_each_sequence_of_a_batch_has_its_own(family):
    model = built(tiny.FAMILIES[family]()).bfloat16()
    cache = transformers.DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.tensor([PROMPT] * 3), **{Call.of(model).cache: cache}, use_cache=True)
        model(input_ids=torch.tensor([[7]] * 3), **{Call.of(model).cache: cache}, use_cache=True)
    nbytes = sum(it.nbytes for it in cached_tensors(cache))
    assert kv_cache_bytes(planned_network(model), len(PROMPT) + 1, 3, "bf16") == nbytes


@pytest.mark.parametrize("name", ["Mistral-7B-v0.3", "Llama-2-70B", "Qwen3-0.6B", "Llama-3.1-8B"])
def test_a_shape_keeps_what_its_numbers_say(name):
    values = shape_config(name)
    head = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    each = 0
    for _layer in range(values["num_hidden_layers"]):
        for _kind in ("keys", "values"):
            each += values["num_key_value_heads"] * head * 2
    found = network(Checkpoint(values, {}, 0), name)
    assert kv_cache_bytes(found, 1_000, 4, "f16") == 4_000 * each
    assert found.context == values["max_position_embeddings"]


def test_blocks_are_those_of_ggml():
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for name in ("q8_0", "q4_0"):
        assert KV_TYPES[name] == GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_are_those_of_a_quantized_cache(bits):
    """As transformers keeps them beside weights of 16 bits."""
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=256, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    model = built(config).half()
    cache = transformers.QuantizedCache("hqq", config=config, nbits=bits, axis_key=1, axis_value=1)
    with torch.inference_mode():
        model(input_ids=torch.randint(5, 300, (1, 256)), **{Call.of(model).cache: cache}, use_cache=True)
    nbytes = 0
    for layer in cache.layers:
        for codes, meta in (layer._quantized_keys, layer._quantized_values):
            nbytes += codes.nbytes + meta["scale"].nbytes + meta["zero"].nbytes
    assert kv_cache_bytes(planned_network(model), 256, 1, f"int{bits}") == nbytes


def test_the_type_follows_the_precision_unless_it_is_named():
    assert [kv_type("auto", it) for it in ("float32", "float16", "bfloat16")] == ["f32", "f16", "bf16"]
    assert kv_type(" Q8_0 ", "bfloat16") == "q8_0"
    with pytest.raises(BadInput, match="Unknown type of the KV cache 'fp7'"):
        kv_type("fp7", "float16")


class Live(TorchDispatchMode):
    """The most bytes of tensors that were alive at once, without those of `known` storages."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.sizes = dict.fromkeys(known, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[key] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, key)
        self.most = max(self.most, self.now)
        return result

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


@pytest.mark.parametrize(("dtype", "batch"), [("float32", 1), ("bfloat16", 3)])
def test_activations_are_near_what_a_pass_holds(dtype, batch):
    tokens = 200
    config = transformers.LlamaConfig(
        vocab_size=400, hidden_size=192, intermediate_size=512, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    model = built(config).to(getattr(torch, dtype))
    ids = torch.randint(5, 300, (batch, tokens))
    own = {it.untyped_storage()._cdata for it in (*model.parameters(), *model.buffers(), ids)}
    cache = transformers.DynamicCache(config=config)
    with torch.inference_mode(), Live(own) as live:
        model(input_ids=ids, **{Call.of(model).cache: cache}, use_cache=True, logits_to_keep=1)
    held = live.most - sum(it.nbytes for it in cached_tensors(cache))
    assert activation_bytes(planned_network(model), tokens, batch, dtype) == pytest.approx(held, rel=0.1)


def test_what_is_no_language_model_is_refused_in_words():
    with pytest.raises(ModelError, match="reads a text in both directions"):
        network(Checkpoint({"model_type": "bert", "hidden_size": 8}, {}, 0), "it")
    with pytest.raises(ModelError, match="answers to a text that it has read whole"):
        network(Checkpoint({"model_type": "t5"}, {}, 0), "it")
    with pytest.raises(ModelError, match="does not say num_attention_heads"):
        network(Checkpoint({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}, {}, 0), "it")
    with pytest.raises(ModelError, match="does not know the kind"):
        network(Checkpoint({"model_type": "nobody"}, {}, 0), "it")


def test_a_file_of_a_kind_that_transformers_does_not_know_is_planned_and_says_so():
    header = {
        "model_type": "nobody", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 99,
    }  # fmt: skip
    found = network(Checkpoint(header, {}, 0, "gguf"), "it")
    assert "does not know this kind" in found.unsure and found.context == 99
    assert kv_cache_bytes(found, 10, 1, "f16") == prod((3, 2, 2, 16, 10, 2))
