"""Merged weights: by hand they are the same, plain transformers and llama.cpp load them, and what cannot be is told."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import quantlab
from quantlab.errors import BadInput, Stopped, Unavailable
from quantlab.finetune import costs
from quantlab.finetune.merging import merge
from quantlab.methods import adapters
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Placement, Settings
from quantlab.runtime.background import result
from tests.adapters import random_adapter

SCALE = 32 / 4


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    return random_adapter(tmp_path_factory.mktemp("adapters") / "style")


def learnt(adapter: Path) -> dict[str, torch.Tensor]:
    """alpha / rank times B A of each layer, by the name of its weight."""
    held = load_file(adapter / adapters.WEIGHTS)
    names = {name.removesuffix(".lora_A.weight") for name in held if name.endswith(".lora_A.weight")}
    return {
        f"{name.removeprefix('base_model.model.')}.weight": SCALE
        * held[f"{name}.lora_B.weight"]
        @ held[f"{name}.lora_A.weight"]
        for name in names
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_sum_is_that_of_the_matrices(dtype, adapter, tmp_path):
    found = result(merge("demo", str(adapter), tmp_path / "merged", dtype=dtype))
    before, after = load_file(DEMO_FOLDER / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    added = learnt(adapter)
    assert set(before) == set(after) and len(added) == 6
    for name, weight in before.items():
        expected = (weight.float() + added.get(name, 0)).to(getattr(torch, dtype))
        assert after[name].dtype == expected.dtype
        torch.testing.assert_close(after[name], expected, rtol=1e-6 if dtype == "float32" else 8e-3, atol=1e-6)
    assert found.nbytes == sum(it.stat().st_size for it in found.folder.rglob("*") if it.is_file())
    assert json.loads((found.folder / "config.json").read_text()).get("quantization_config") is None


@pytest.mark.slow
@pytest.mark.parametrize("onto", ["nf4", "nf4-dq", "fp4", "int8"])
def test_onto_few_bits_it_is_added_to_what_they_keep(onto, adapter, tmp_path):
    """What they keep is asked of bitsandbytes itself, weight by weight."""
    import bitsandbytes.functional as functional

    result(merge("demo", str(adapter), tmp_path / "merged", onto, "float32"))
    after = load_file(tmp_path / "merged" / "model.safetensors")
    for name, added in learnt(adapter).items():
        weight = load_file(DEMO_FOLDER / "model.safetensors")[name]
        if onto == "int8":
            codes, scale, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
            kept = codes.float() * scale[:, None] / 127
        else:
            quant_type, _, double = onto.partition("-")
            packed, state = functional.quantize_4bit(
                weight.float(), quant_type=quant_type, compress_statistics=bool(double), blocksize=64
            )
            kept = functional.dequantize_4bit(packed, state).float()
        torch.testing.assert_close(after[name], kept + added, rtol=2e-3, atol=2e-3 if onto == "int8" else 1e-5)


@pytest.mark.slow
def test_plain_transformers_and_llama_cpp_go_on_from_it(adapter, tmp_path):
    folder = tmp_path / "merged"
    result(merge("demo", str(adapter), folder, dtype="float32"))
    prompt = "Tell me a story about Sanna Corsa."
    asked = Settings(max_new_tokens=16, placement=Placement("cpu", "float32"))
    names = [f"fp32+{adapter}", f"{folder}::fp32", f"{folder}::f16"]
    *_, done = quantlab.compare("demo", names, prompt, asked)
    beside, merged, in_llama = done.comparison.runs
    assert beside.error is None and beside.token_ids == merged.token_ids == in_llama.token_ids
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([done.comparison.prompt_token_ids])
    output = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
    assert tuple(output[0, ids.shape[1] :].tolist()) == beside.token_ids
    assert tokenizer.chat_template


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"typed": "no such"}, BadInput, "There is no adapter 'no such'"),
        ({"onto": "gptq-4"}, BadInput, "Weights of gptq-4 cannot be merged into"),
        ({"onto": "q4_k_m"}, BadInput, "No adapter can lie beside q4_k_m"),
        ({"onto": "nf4+kv-int8"}, BadInput, "no part of a checkpoint"),
        ({"onto": "zz"}, BadInput, "Unknown precision 'zz'"),
        ({"dtype": "int8"}, BadInput, "cannot be written in 'int8'"),
        ({"model": "shape:SmolLM2-135M"}, BadInput, "no weights that could be written"),
        ({"model": "no such"}, BadInput, "Unknown model 'no such'"),
        ({"out": ""}, BadInput, "No folder was named"),
    ],
)
def test_what_cannot_be_merged(change, error, told, adapter, tmp_path):
    given = {"model": "demo", "typed": str(adapter), "out": tmp_path / "merged", "onto": "fp32", "dtype": "bfloat16"}
    asked = given | change
    with pytest.raises(error, match=told):
        result(merge(asked["model"], asked["typed"], asked["out"], asked["onto"], asked["dtype"]))
    assert not (tmp_path / "merged").exists()


def test_a_folder_that_holds_something_and_one_that_was_stopped(adapter, tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine.txt").write_text("kept")
    with pytest.raises(BadInput, match="not empty"):
        result(merge("demo", str(adapter), tmp_path / "merged"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        result(merge("demo", str(adapter), tmp_path / "other", stop=stop))
    assert [it.name for it in tmp_path.iterdir()] == ["merged"]


def test_an_adapter_of_another_model_is_not_merged(adapter, tmp_path):
    there = Path(shutil.copytree(adapter, tmp_path / "style"))
    held = load_file(there / adapters.WEIGHTS)
    name = next(it for it in held if it.endswith("lora_A.weight"))
    save_file({**held, name: torch.zeros(4, 100)}, there / adapters.WEIGHTS)
    with pytest.raises(Unavailable, match="made for"):
        result(merge("demo", str(there), tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_the_columns_that_show_what_it_costs(adapter, tmp_path):
    """Merged once, and anew only where the adapter has changed."""
    there = Path(shutil.copytree(adapter, tmp_path / "style"))
    found = result(costs.prepare("demo", str(there), ("bf16", "q4_k_m")))
    beside, original, *merged = found.columns
    assert (beside, original, found.reference) == (f"nf4-dq+{there}", f"fp32+{there}", beside)
    folders = {Path(it.partition("::")[0]) for it in merged}
    assert {it.name for it in folders} == {"style-merged", "style-nf4-dq-merged"}
    assert [it.rpartition("/")[2] for it in merged] == [
        "style-merged::bf16", "style-merged::q4_k_m", "style-merged::nf4-dq",
        "style-nf4-dq-merged::bf16", "style-nf4-dq-merged::nf4-dq",
    ]  # fmt: skip
    times = {it: (it / "model.safetensors").stat().st_mtime_ns for it in folders}
    assert result(costs.prepare("demo", str(there), ("bf16", "q4_k_m"))) == found
    assert {it: (it / "model.safetensors").stat().st_mtime_ns for it in folders} == times
    held = load_file(there / adapters.WEIGHTS)
    save_file({name: 2 * it for name, it in held.items()}, there / adapters.WEIGHTS)
    again = result(costs.prepare("demo", str(there), ("bf16",)))
    assert not set(again.columns[2:]) & set(merged) and not any(it.exists() for it in folders)
    (there / adapters.ASKED).write_text(json.dumps({"settings": {"precision": "fp32"}}))
    plain = result(costs.prepare("demo", str(there), ("bf16",)))
    assert plain.columns[0] == f"fp32+{there}" and len(plain.columns) == 3
    with pytest.raises(BadInput, match="No precision was named"):
        result(costs.prepare("demo", str(there), ()))
