"""Checkpoints written by the libraries that publishers use, loaded as they are."""

import gc
import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quantlab import models
from quantlab.errors import ModelError, Stopped, Unavailable
from quantlab.methods import METHODS, STORED, precision
from quantlab.methods.quantized_loading import load_quantized
from quantlab.methods.stored import PACKAGES
from quantlab.records import Checkpoint, Model, Placement, Variant, silent
from quantlab.runtime.placement import resolve
from quantlab.settings import AppSettings
from tests import tiny
from tests.methods.publishing import METHODS_OF, ROOT, write_original
from tests.methods.test_contract import new_bytes

CHOSEN = STORED.precisions[0]
#: The type in which the folders hold what they do not quantize.
SIXTEEN = Placement("cpu", compute_dtype="bfloat16")
FULL = Placement("cpu", compute_dtype="float32")
PROMPT = [1, *range(40, 52)]
LAYERS = 14


@pytest.fixture(params=METHODS_OF)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(published, name) -> Model:
    return Model(name, "folder", published[name])


def loading(model: Model, placement: Placement = SIXTEEN, progress=silent):
    return STORED.load(model, CHOSEN, resolve(placement), progress)


def greedy(session, count: int = 24) -> list[int]:
    tokens = [int(session.forward(PROMPT).argmax())]
    while len(tokens) < count:
        tokens.append(int(session.forward(tokens[-1:]).argmax()))
    return tokens


def test_the_tokens_are_those_of_plain_transformers(model):
    plain = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.bfloat16)
    options = dict(do_sample=False, max_new_tokens=24, min_new_tokens=24, pad_token_id=0)
    plain.generation_config.eos_token_id = None
    expected = plain.generate(torch.tensor([PROMPT]), **options)[0, len(PROMPT) :].tolist()
    loaded = loading(model)
    assert greedy(loaded.start()) == expected
    assert len(set(expected)) > 4, "a model that repeats itself shows nothing"
    loaded.close()


def test_stored_bytes_are_what_the_files_hold(model, name):
    held = {}
    with safe_open(model.folder / "model.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            held[key] = file.get_tensor(key).nbytes
    expected = sum(held.values())
    if name == "nf4":  # settings written as a tensor, and the offset of the scales read out of them
        expected += LAYERS * 4 - sum(size for key, size in held.items() if ".quant_state." in key)
    if name == "int8":
        expected -= sum(size for key, size in held.items() if key.endswith(".weight_format"))
    loaded = loading(model)
    storage = loaded.storage()
    # Made by the code and in no file: the rotary frequencies, and gptqmodel's table of shifts (32 bytes a layer).
    made = storage.parts["other"] + (LAYERS * 32 if name == "gptq" else 0)
    assert (storage.total, storage.parts["other"]) == (expected + made, 64)
    assert sum(storage.parts.values()) == storage.total
    assert storage.quantized_weights == LAYERS // 7 * (4 * 64 * 64 + 3 * 64 * 128)
    planned = STORED.estimate(CHOSEN, resolve(SIXTEEN), models.checkpoint(model))
    assert planned == pytest.approx(expected, abs=LAYERS * 4)
    bits = STORED.bits_of(models.checkpoint(model))
    assert bits == pytest.approx(storage.bits_per_quantized_weight, rel=0.02)
    loaded.close()


def test_what_is_not_quantized_computes_in_the_type_asked_for(model, name):
    loaded = loading(model, FULL)
    planned = STORED.estimate(CHOSEN, resolve(FULL), models.checkpoint(model))
    assert planned == pytest.approx(loaded.stored_bytes(), rel=0.01)
    assert loaded.module.get_input_embeddings().weight.dtype == torch.float32
    assert loaded.start().forward(PROMPT).dtype == torch.float32
    assert loaded.facts.compute_dtype.startswith("float16" if name == "int8" else "float32")
    loaded.close()


def test_its_own_settings_are_told(model, name):
    loaded = loading(model)
    details = loaded.facts.details
    assert details["method"] == METHODS_OF[name] and "BF16 6" in details["tensor types"].replace("BF16 20", "BF16 6")
    expected = {
        "gptq": {"bits": "4", "group size": "32", "symmetric": "yes", "columns by activation": "no"},
        "awq": {"bits": "4", "group size": "32", "zero points": "yes"},
        "nf4": {"bits": "4", "data type": "nf4", "double quantization": "yes"},
        "int8": {"bits": "8", "threshold": "6.0"},
        "ao-int8": {"quantized by": "torchao Int8WeightOnlyConfig"},
        "ao-float8": {"quantized by": "torchao Float8WeightOnlyConfig"},
        "compressed": {"bits": "4", "data type": "int", "group size": "32", "symmetric": "yes"},
        "nvfp4": {"bits": "4", "data type": "float", "group size": "16", "symmetric": "yes"},
    }[name]
    assert expected.items() <= details.items()
    if name in ("gptq", "awq"):
        assert details["quantized by"].startswith("gptqmodel:")
    classes = {
        "gptq": "TorchAtenLinear",
        "awq": "TorchAtenAwqLinear",
        "nf4": "dequantize_4bit",
        "int8": "LLM.int8",
        "ao-int8": "Int8Tensor",
        "ao-float8": "Float8Tensor",
        "compressed": "Linear (unpacked)",
        "nvfp4": "Linear (unpacked)",
    }
    assert classes[name] in loaded.facts.kernel or (name == "nf4" and "gemv_4bit" in loaded.facts.kernel)
    loaded.close()


def test_its_own_tokenizer_answers(model):
    loaded = loading(model)
    text = "héllo <s>"
    assert loaded.tokenize(text) == tuple(tiny.letters().encode(text, add_special_tokens=False))
    loaded.close()
    plain = load_quantized(model, resolve(SIXTEEN), silent)
    assert plain.tokenize(text) is None, "a checkpoint of our own has the tokenizer of its model"
    plain.close()


@pytest.mark.parametrize("stop_at", [0, 8])
def test_a_stop_leaves_nothing_and_closing_gives_all_back(model, stop_at):
    loading(model).close()  # libraries make tables of their own at the first load
    gc.collect()
    before = new_bytes()

    def stop(done: int, _total: int, _what: str) -> None:
        if done == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        loading(model, progress=stop)
    assert new_bytes() == before
    loaded = loading(model)
    greedy(loaded.start(), 2)
    assert new_bytes() > before
    loaded.close()
    assert new_bytes() == before
    with pytest.raises(RuntimeError, match="closed"):
        loaded.storage()


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_what_older_tools_wrote_loads(published, name, tmp_path):
    """auto-gptq and AutoAWQ: no meta, no format, other keys."""
    settings = {
        "gptq": {"bits": 4, "damp_percent": 0.1, "desc_act": False, "static_groups": False, "sym": True},
        "awq": {"bits": 4, "version": "gemm", "zero_point": True, "modules_to_not_convert": None},
    }[name]
    for file in published[name].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = settings | {"group_size": 32, "quant_method": name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    old, new = (loading(Model(name, "folder", folder)) for folder in (tmp_path, published[name]))
    assert torch.equal(old.start().forward(PROMPT), new.start().forward(PROMPT))
    assert "quantized by" not in old.facts.details
    for each in (old, new):
        each.close()


def test_a_gguf_file_is_loaded_by_llama_cpp(tmp_path, at_once):
    from quantlab.methods.gguf import GGUF

    source = tiny.write(tmp_path / "llama", "llama")
    where = resolve(FULL)
    (folder := tmp_path / "gguf").mkdir()
    GGUF.build(Variant(source, GGUF.parse("q8_0"), where), folder, silent)
    model = models.resolve(str(folder / "model.gguf"), AppSettings(public=False))
    checkpoint = models.checkpoint(model)
    loaded = STORED.load(model, CHOSEN, where, silent)
    assert loaded.stored_bytes() == checkpoint.nbytes == STORED.estimate(CHOSEN, where, checkpoint)
    assert STORED.bits_of(checkpoint) == 8.5
    assert loaded.tokenize("héllo") == tuple(tiny.letters().encode("héllo", add_special_tokens=False))
    assert torch.isfinite(loaded.start(64).forward(PROMPT)).all()
    loaded.close()


def test_what_cannot_be_had_is_refused_beforehand(published, llama, monkeypatch):
    def refusal(stored_as: str | None) -> str | None:
        settings = {"quantization_config": {"quant_method": stored_as}}
        return STORED.refuses(CHOSEN, Checkpoint(settings, {}, 0, stored_as), "cpu")

    plain = models.checkpoint(llama)
    assert "not: choose another precision" in STORED.refuses(CHOSEN, plain, "cpu")
    assert "stored by hqq" in refusal("hqq") and "bitsandbytes" in refusal("hqq")
    for folder in published.values():
        checkpoint = models.checkpoint(Model("published", "folder", folder))
        assert STORED.refuses(CHOSEN, checkpoint, "cpu") is None
        for method in METHODS.values():
            if method is not STORED and method.precisions:
                assert "quantized already" in method.refuses(method.precisions[0], checkpoint, "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    for method in PACKAGES:
        assert "pip install" in refusal(method)
    with pytest.raises(Unavailable, match="gptqmodel"):
        loading(Model("gptq", "folder", published["gptq"]))


def test_every_method_that_is_loaded_is_one_of_transformers():
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    known = {name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZER_MAPPING}
    assert set(PACKAGES) <= known


def test_files_that_do_not_belong_to_their_config_are_told(published, tmp_path):
    for file in published["gptq"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["intermediate_size"] *= 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"have other sizes than its config\.json says"):
        loading(Model("gptq", "folder", tmp_path))


@pytest.mark.parametrize("name", ["nvfp4", "compressed"])
@pytest.mark.parametrize("placement", [SIXTEEN, FULL])
def test_what_is_unpacked_is_near_the_original_in_every_compute_type(published, name, placement, tmp_path):
    """Scales of NVFP4 are kept in 8 bits: unpacked before the compute type is set, a layer's product failed."""
    write_original(tmp_path)
    loaded = loading(Model(name, "folder", published[name]), placement)
    for key, original in load_file(tmp_path / "model.safetensors").items():
        if key.endswith("proj.weight"):
            held = loaded.module.get_parameter(key)
            assert held.dtype == getattr(torch, placement.compute_dtype)
            assert 0.05 < (held.float() - original.float()).norm() / original.float().norm() < 0.2
    assert torch.isfinite(loaded.start().forward(PROMPT)).all()
    loaded.close()


def test_keys_and_values_that_were_to_be_quantized_are_said_not_to_be(published, tmp_path):
    for file in published["compressed"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
    config["quantization_config"]["kv_cache_scheme"] = scheme
    (tmp_path / "config.json").write_text(json.dumps(config))
    told, silent_of_it = (
        loading(Model("compressed", "folder", folder)) for folder in (tmp_path, published["compressed"])
    )
    note = "its publisher meant keys and values to be kept in 8 bits; here they are kept in the compute type"
    assert note in told.facts.notes and note not in silent_of_it.facts.notes
    assert torch.equal(told.start().forward(PROMPT), silent_of_it.start().forward(PROMPT))
    for each in (told, silent_of_it):
        each.close()


def test_nothing_reaches_a_terminal(published):
    code = f"""
from pathlib import Path
from quantlab.methods import STORED
from quantlab.records import Model, Placement, silent
from quantlab.runtime.placement import resolve
for folder in {[str(folder) for folder in published.values()]}:
    loaded = STORED.load(Model("m", "folder", Path(folder)), STORED.precisions[0], resolve(Placement("cpu")), silent)
    session = loaded.start()
    session.forward({PROMPT})
    session.forward([55])
    loaded.close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_table_names_it():
    assert precision("stored") is CHOSEN and METHODS["stored"] is STORED
