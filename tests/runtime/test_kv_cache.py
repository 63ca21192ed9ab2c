"""Keys and values at fewer bits, held against plain transformers and llama-cpp-python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, QuantizedCache

from quantlab import models
from quantlab.errors import BadInput, Unavailable
from quantlab.methods import METHODS, most_precise, precision, variant_of
from quantlab.records import Calibration, Model, Placement, Settings, silent
from quantlab.runtime.decode import decode
from quantlab.runtime.kv_cache import GGML, HQQ_BITS, RESIDUAL, group_size, split
from quantlab.runtime.placement import resolve
from quantlab.runtime.sampling import sampler
from quantlab.settings import app_settings
from tests import tiny
from tests.loading import load, store, variant

IDS = [1, *range(40, 150)]
HEAD, KV_HEADS, LAYERS = 16, 2, 2  # of tests.tiny


def plain(kv_cache: str) -> dict[str, int]:
    """Settings of transformers' cache; two heads of a token are too few groups to fill bytes with codes of 2 bits."""
    size = 8 if kv_cache == "int2" else HEAD
    return {"axis_key": 1, "axis_value": 1, "q_group_size": size, "residual_length": RESIDUAL}


def demo() -> Model:
    return models.resolve("demo", app_settings())


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Model:
    return tiny.write(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def loaded(llama):
    found = load(llama, "fp32")
    yield found
    found.close()


@pytest.fixture(scope="module")
def network(llama):
    """Plain transformers."""
    return AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("start", [1, 40])
@pytest.mark.parametrize(("kv_cache", "farther"), [("int8", 1e-6), ("int4", 1e-3), ("int2", 1e-2)])
@torch.inference_mode()
def test_a_text_is_read_as_transformers_reads_it_token_by_token(loaded, network, kv_cache, farther, start):
    cache = QuantizedCache("hqq", network.config, nbits=HQQ_BITS[kv_cache], **plain(kv_cache))
    pieces = [IDS[:start], *([it] for it in IDS[start:-1])]
    rows = [network(input_ids=torch.tensor([it]), past_key_values=cache).logits[0, -1] for it in pieces]
    expected = torch.log_softmax(torch.stack(rows), dim=-1)
    scores = torch.cat(list(loaded.start(None, kv_cache).score(IDS, start)))
    exact = torch.cat(list(loaded.start().score(IDS, start)))
    distance = (expected - exact).abs().max()
    assert distance > farther, "keys and values at fewer bits are farther from the exact ones"
    assert (scores - expected).abs().max() < distance / 20


@pytest.mark.parametrize("kv_cache", HQQ_BITS)
def test_greedy_tokens_equal_generate_with_the_same_cache(loaded, network, kv_cache):
    prompt, new = IDS[:40], 48
    network.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])
    expected = network.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0,
        cache_implementation="quantized",
        cache_config={"backend": "hqq", "nbits": HQQ_BITS[kv_cache], **plain(kv_cache)},
    )[0, len(prompt) :].tolist()  # fmt: skip
    session = loaded.start(None, kv_cache)
    assert [step.token_id for step in decode(session, prompt, new, sampler(Settings()))] == expected


@pytest.mark.parametrize(("kv_cache", "bits"), [("int8", 8), ("int4", 4)])
def test_its_bytes_are_codes_scales_and_the_newest_tokens(loaded, kv_cache, bits):
    prompt, new = 40, 10
    session = loaded.start(None, kv_cache)
    session.forward(IDS[:prompt])
    for token in IDS[prompt : prompt + new]:
        session.forward([token])
    values = 2 * LAYERS * KV_HEADS * HEAD  # keys and values of one token
    scale_and_zero_point = 2 * 4
    quantized = values * prompt * bits // 8 + values * prompt // HEAD * scale_and_zero_point
    assert session.kv_cache_bytes() == quantized + values * new * 4
    session.forward([5] * RESIDUAL)
    everything = prompt + new + RESIDUAL
    assert session.kv_cache_bytes() == values * everything * bits // 8 + values * everything // HEAD * 8


def test_a_layer_that_keeps_a_window_is_told(tmp_path):
    windowed = load(tiny.write(tmp_path, "mistral-sliding"), "fp32")
    with pytest.raises(Unavailable, match="not every layer of this model reads the whole text") as refused:
        windowed.start(None, "int8")
    assert "+kv-int8" in refused.value.advice
    windowed.close()


def test_the_missing_package_is_told(loaded, monkeypatch):
    monkeypatch.setattr("transformers.cache_utils.is_hqq_available", lambda: False)
    with pytest.raises(Unavailable, match="need hqq") as refused:
        loaded.start(None, "int8")
    assert "pip install hqq" in refused.value.advice


def test_a_type_of_llama_cpp_is_none_of_transformers(loaded):
    with pytest.raises(Unavailable, match="transformers cannot keep keys and values in q8_0"):
        loaded.start(None, "q8_0")


@pytest.mark.parametrize(("name", "said"), [
    ("nf4+kv-q8_0", "nf4 cannot keep keys and values in 'q8_0'"),
    ("nf4+kv-", "nf4 cannot keep keys and values in ''"),
    ("q4_k_m+kv-int4", "q4_k_m cannot keep keys and values in 'int4'"),
    ("nf5+kv-int4", "nf5"),
    ("+kv-int4", "precision"),
])  # fmt: skip
def test_what_cannot_be_is_told_before_anything_loads(name, said):
    with pytest.raises(BadInput, match=said):
        precision(name)


def test_the_advice_names_the_types_that_can_be():
    with pytest.raises(BadInput) as refused:
        precision("nf4+kv-int16")
    assert "+kv-int8, +kv-int4, +kv-int2" in refused.value.advice


@pytest.mark.parametrize(("name", "parts"), [
    ("nf4+kv-int8", ("nf4", "int8")), ("nf4", ("nf4", None)), ("a+kv-b/c+kv-q8_0", ("a+kv-b/c", "q8_0")),
])  # fmt: skip
def test_the_name_is_parted(name, parts):
    assert split(name) == parts


def test_every_method_that_loads_says_what_it_can():
    assert {name for name, method in METHODS.items() if not method.kv_caches} <= {"dequantized"}


def test_the_weights_are_loaded_once_for_all_caches(llama):
    names = ("nf4", "nf4+kv-int8", "nf4+kv-int4")
    found = {variant_of(llama, precision(name), resolve(Placement("cpu")), Calibration()) for name in names}
    assert len(found) == 1 and found.pop().precision == precision("nf4")


def test_it_is_the_reference_only_where_nothing_else_has_as_many_bits():
    pair = (precision("fp32+kv-int8"), precision("fp32"))
    assert most_precise(pair).name == "fp32" == most_precise(pair[::-1]).name
    assert most_precise((precision("nf4"), pair[0])).name == "fp32+kv-int8"


@pytest.fixture(scope="module")
def file() -> Path:
    """The demo's GGUF, whose heads are blocks of 32."""
    pytest.importorskip("llama_cpp")
    from tests.loading import llama_cpp_at_once

    with llama_cpp_at_once():
        return store().get(variant(demo(), "f16"), silent).folder / "model.gguf"


@pytest.mark.parametrize("kv_cache", ["f16", "q8_0", "q4_0"])
def test_a_text_is_read_as_llama_cpp_python_reads_it(file, kv_cache):
    from llama_cpp import Llama

    from quantlab.methods.gguf import library

    loaded = load(demo(), "f16")
    ids, number = IDS[:97], GGML[kv_cache][0]
    scores = torch.cat(list(loaded.start(len(ids), kv_cache).score(ids, 1)))
    plain = torch.cat(list(loaded.start(len(ids)).score(ids, 1)))
    loaded.close()
    with library.listening(lambda _line: None):
        model = Llama(
            str(file), n_ctx=len(ids), n_batch=len(ids), logits_all=True, flash_attn=True, type_k=number, type_v=number,
            n_threads=2, n_threads_batch=2, verbose=False,
        )  # fmt: skip
        model.eval(ids)
        rows = torch.from_numpy(np.array(model.scores[: len(ids) - 1], dtype=np.float32))
        model.close()
    expected = torch.log_softmax(rows, dim=-1)
    distance = (expected - plain).abs().max()
    assert distance > 1e-5
    assert (scores - expected).abs().max() < max(distance / 5, 1e-5)


def test_the_bytes_of_llama_cpp_s_cache_are_those_of_its_blocks():
    pytest.importorskip("llama_cpp")
    loaded = load(demo(), "f16")
    config = models.config(demo())
    held = {it: loaded.start(256, it).kv_cache_bytes() for it in GGML}
    loaded.close()
    values = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    assert held == {name: 256 * values * nbytes // block for name, (_, nbytes, block) in GGML.items()}
    assert held["q8_0"] * 32 == held["f16"] * 17 and held["q4_0"] * 32 == held["f16"] * 9


def test_heads_that_are_no_whole_blocks_are_told(llama):
    pytest.importorskip("llama_cpp")
    loaded = load(llama, "f16")
    with pytest.raises(Unavailable, match="a head of this model has 16 or 16 values, no whole blocks of 32"):
        loaded.start(32, "q8_0")
    loaded.start(32, "f16")
    loaded.close()


@pytest.mark.parametrize(
    ("heads", "head", "bits", "size"),
    [(3, 64, 8, 64), (3, 64, 4, 32), (3, 64, 2, 16), (1, 64, 4, 32), (8, 128, 2, 64), (5, 80, 4, 8), (2, 96, 4, 32)],
)
def test_one_token_fills_whole_bytes(heads, head, bits, size):
    from hqq.core.quantize import Quantizer

    assert group_size(heads, head, bits) == size
    keys = torch.randn(1, heads, 1, head)
    codes, meta = Quantizer.quantize(keys, nbits=bits, group_size=size, axis=1, device="cpu", compute_dtype=keys.dtype)
    back = Quantizer.dequantize(codes, meta)
    assert back.shape == keys.shape and (back - keys).abs().max() < (keys.max() - keys.min()) / (2**bits - 1)
