"""GPTQ: names, refusals, the checkpoint that a build leaves, and that it beats plain rounding."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from quantlab import models
from quantlab.errors import BadInput, ModelError, Stopped
from quantlab.methods import METHODS, precision
from quantlab.methods.gptq import GPTQ, gptq_precision
from quantlab.methods.gptq.architectures import ARCHITECTURES
from quantlab.methods.gptq.quantizing import _finish
from quantlab.records import Calibration, Checkpoint, Model, Placement, TensorInfo, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel
from tests import tiny
from tests.loading import load, store, variant

FLOAT32 = resolve(Placement("cpu", compute_dtype="float32"))
PROMPT = [1, *range(40, 52)]
NAMES = ("gptq-8", "gptq-4", "gptq-3", "gptq-2")


def built(model: Model, name: str) -> Path:
    """The checkpoint of a variant, built with little calibration the first time that any test asks for it."""
    return store().get(variant(model, name), silent).folder


def greedy(folder: Path, count: int = 12) -> list[int]:
    """What plain transformers goes on with, without first compiling gptqmodel's unpacking for half a minute."""
    ids = list(PROMPT)
    with patch.object(torch._dynamo.config, "disable", True), torch.inference_mode():
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": "cpu"})
        for _ in range(count):
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def stepwise(loaded: LoadedModel, count: int = 12) -> list[int]:
    """The same of a variant, token by token over its cache."""
    session, ids = loaded.start(), []
    logits = session.forward(PROMPT)
    for _ in range(count):
        ids.append(int(logits.argmax()))
        logits = session.forward(ids[-1:])
    return ids


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gptq-8", (8, 64, False, True)),
        ("gptq-4", (4, 64, False, False)),
        ("gptq-4-g128", (4, 128, False, False)),
        ("gptq-3-g32-act", (3, 32, True, False)),
        ("gptq-2-act-sym", (2, 64, True, True)),
        ("gptq-8-asym", (8, 64, False, False)),
    ],
)
def test_options_are_read_from_the_name_and_written_into_it(name, options):
    found = precision(name)
    assert (found.weight_bits, found.group_size, found.desc_act, found.symmetric) == options
    assert found.name == name and precision(found.name) == found == gptq_precision(*options)


@pytest.mark.parametrize(
    ("name", "same"), [("gptq-4-g64", "gptq-4"), ("gptq-4-asym", "gptq-4"), ("gptq-8-sym", "gptq-8")]
)
def test_a_default_that_is_spelled_out_is_the_same_precision(name, same):
    assert precision(name) == precision(same)


@pytest.mark.parametrize("name", ["gptq-4-g48", "gptq-4-g0", "gptq-4-g256"])
def test_group_sizes_that_kernels_do_not_take_are_refused(name):
    with pytest.raises(BadInput, match="group size"):
        precision(name)


@pytest.mark.parametrize("name", ["gptq-5", "gptq-4-sym-act", "gptq", "gptq-4-act-act"])
def test_other_names_are_none_of_this_method(name):
    assert GPTQ.parse(name) is None


def checkpoint(kind: str = "llama", stored_as: str | None = None, **shapes: tuple[int, ...]) -> Checkpoint:
    tensors = {name.replace("__", "."): TensorInfo(shape, "BF16") for name, shape in shapes.items()}
    return Checkpoint({"model_type": kind}, tensors, 0, stored_as)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (checkpoint(stored_as="awq"), r"quantized already \(awq\)"),
        (checkpoint("mamba"), "not take the architecture mamba.*llama, "),
        (checkpoint(model__layers__0__mlp__down_proj__weight=(64, 96)), r"layers\.0\.mlp\.down_proj has 96 inputs"),
        (checkpoint(model__layers__0__mlp__up_proj__weight=(100, 64)), r"layers\.0\.mlp\.up_proj has 100"),
        (checkpoint("phi3"), "not take the architecture phi3"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(asked, reason):
    said = GPTQ.refuses(precision("gptq-4"), asked, "cpu")
    assert re.search(reason, said) and said[0].islower() and said == said.strip()


def test_what_it_takes_is_not_refused(llama):
    assert GPTQ.refuses(precision("gptq-4"), models.checkpoint(llama), "cpu") is None
    odd_elsewhere = checkpoint(model__embed_tokens__weight=(321, 96), model__layers__0__norm__weight=(96,))
    assert GPTQ.refuses(precision("gptq-4"), odd_elsewhere, "cpu") is None
    rows_of_96 = checkpoint(model__layers__0__mlp__down_proj__weight=(64, 96))
    assert GPTQ.refuses(precision("gptq-4-g32"), rows_of_96, "cpu") is None


def test_the_architectures_are_known_to_both_libraries():
    METHODS["gptq"].prepare()
    from gptqmodel.models.auto import MODEL_MAP
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert set(MODEL_MAP) >= ARCHITECTURES <= set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert "llama" in ARCHITECTURES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_holds_exactly_the_bytes_that_were_planned(llama, name):
    tensors = load_file(built(llama, name) / "model.safetensors")
    asked = (precision(name), FLOAT32, models.checkpoint(llama))
    computed = GPTQ.layout(*asked).buffer_bytes  # in no file
    assert sum(tensor.nbytes for tensor in tensors.values()) + computed == GPTQ.estimate(*asked)
    layers = {key.removesuffix(".qweight") for key in tensors if key.endswith(".qweight")}
    sizes = {f"{layer}.weight": info.shape for layer in layers for info in [models.tensors(llama)[f"{layer}.weight"]]}
    assert len(sizes) == 2 * 7
    for layer in layers:
        stored = sum(tensor.nbytes for key, tensor in tensors.items() if key.rpartition(".")[0] == layer)
        assert stored == GPTQ.weight_bytes(precision(name), *sizes[f"{layer}.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_plain_transformers_loads_it_and_gives_the_same_tokens(llama, name):
    loaded = load(llama, name, placement=FLOAT32)
    assert stepwise(loaded) == greedy(built(llama, name))
    loaded.close()


@pytest.mark.slow
def test_fewer_bits_lie_farther_from_the_original(llama):
    def logits(name: str) -> torch.Tensor:
        loaded = load(llama, name, placement=FLOAT32)
        found = torch.cat(list(loaded.start().score(PROMPT)))
        loaded.close()
        return found

    original = logits("fp32")
    errors = [(logits(name) - original).abs().mean().item() for name in NAMES]
    assert errors == sorted(errors) and 0 < errors[0] < errors[-1] / 20


@pytest.mark.slow
def test_the_folder_is_an_ordinary_checkpoint_and_nothing_else(llama):
    folder = built(llama, "gptq-4")
    names = {file.name for file in folder.iterdir()} - {"quantlab.json"}
    theirs = {file.name for file in llama.folder.iterdir()}
    assert names == theirs
    assert (folder / "tokenizer.json").read_bytes() == (llama.folder / "tokenizer.json").read_bytes()
    config = json.loads((folder / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((llama.folder / "config.json").read_text())
    told = {key: quantization[key] for key in ("quant_method", "bits", "group_size", "desc_act", "sym")}
    assert told == {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": False}
    assert quantization["meta"]["calibration"] == {"text": "bundled", "windows": 8, "length": 64, "windows_asked": 8}
    assert str(folder.parent) not in json.dumps(quantization) and "/tmp" not in json.dumps(quantization)


@pytest.mark.cold
@pytest.mark.slow
def test_a_build_tells_its_progress_by_layer_and_how_little_text_there_was_and_the_terminal_nothing(
    llama, tmp_path, capfd
):
    text = tmp_path / "text.txt"
    text.write_text("Some text to read. " * 12)
    folder, told = tmp_path / "made", []
    folder.mkdir()
    asked = replace(variant(llama, "gptq-2"), calibration=Calibration(text, samples=9, length=64))
    GPTQ.build(asked, folder, lambda *step: told.append(step))
    shares = [done / total for done, total, _ in told if total]
    assert shares == sorted(shares) and shares[-1] == 1
    layers = [what.partition(",")[0] for _, total, what in told if total and what.startswith("layer")]
    assert list(dict.fromkeys(layers)) == ["layer 1 of 2", "layer 2 of 2"]
    facts = GPTQ.load(Model("llama", "folder", folder), precision("gptq-2"), FLOAT32, silent).facts
    assert facts.details["calibration"] == "3 windows of 64 tokens, user text"
    assert any("3 of 9 windows" in note for note in facts.notes)
    assert capfd.readouterr() == ("", "")


@pytest.mark.cold
@pytest.mark.slow
def test_a_stop_in_the_middle_ends_the_worker_and_leaves_nothing(llama):
    wanted = replace(variant(llama, "gptq-4"), calibration=Calibration(samples=8, length=65))
    before = set(psutil.Process().children(recursive=True))

    def stop(_done: int, _total: int, what: str) -> None:
        if what.startswith("layer 1"):
            assert set(psutil.Process().children(recursive=True)) - before, "the worker runs now"
            raise Stopped

    with pytest.raises(Stopped):
        store().get(wanted, stop)
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not [left for left in (store().root / ".building").iterdir()]
    made = (json.loads(file.read_text())["calibration"] for file in store().root.glob("*/quantlab.json"))
    assert wanted.calibration.length not in {text["length"] for text in made if text}


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_an_error_and_not_a_checkpoint(llama, tmp_path):
    damaged = tiny.write(tmp_path / "damaged", "llama")
    file = damaged.folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3] = math.nan
    save_file(tensors, file, metadata={"format": "pt"})
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"llama|Layer 1"):
        GPTQ.build(variant(damaged, "gptq-4"), folder, silent)
    assert not list(folder.glob("*.safetensors"))


@pytest.mark.slow
def test_what_is_not_quantized_keeps_the_type_of_the_source(tmp_path):
    source, written, folder = (tmp_path / name for name in ("source", "written", "folder"))
    for each in (source, written, folder):
        each.mkdir()
    (source / "config.json").write_text('{"dtype": "bfloat16"}')
    (written / "config.json").write_text('{"dtype": "float32", "quantization_config": {"meta": {"gc_mode": "x"}}}')
    layer = {
        "a.qweight": torch.ones(2, dtype=torch.int32),
        "a.scales": torch.ones(2).half(),
        "a.bias": torch.ones(2).half(),
    }
    save_file({"norm.weight": torch.full((2,), 1.00001), **layer}, written / "model.safetensors")
    _finish(source, written, folder, {"windows": 1})
    found = {key: tensor.dtype for key, tensor in load_file(folder / "model.safetensors").items()}
    half, integer = torch.float16, torch.int32
    assert found == {"norm.weight": torch.bfloat16, "a.qweight": integer, "a.scales": half, "a.bias": half}
    config = json.loads((folder / "config.json").read_text())
    assert config == {"dtype": "bfloat16", "quantization_config": {"meta": {"calibration": {"windows": 1}}}}


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in tiny.FAMILIES if family not in ("llama", "phi3", "gpt2")])
def test_other_architectures_are_quantized_and_planned_as_well(family, tmp_path):
    model = tiny.write(tmp_path / family, family)
    chosen = precision("gptq-8-g32")
    assert GPTQ.refuses(chosen, models.checkpoint(model), "cpu") is None
    loaded = load(model, chosen.name, placement=FLOAT32)
    original = load(model, "fp32", placement=FLOAT32)
    ours, theirs = (torch.cat(list(it.start().score(PROMPT))) for it in (loaded, original))
    assert torch.isfinite(ours).all() and (ours - theirs).abs().mean() < 0.1 * theirs.std()
    tensors = load_file(built(model, chosen.name) / "model.safetensors")
    layers = {key.rpartition(".")[0] for key in tensors if key.endswith(".qweight")}
    biases = sum(tensor.nbytes for key, tensor in tensors.items() if key.endswith("bias") and key[:-5] in layers)
    stored = sum(tensor.nbytes for tensor in tensors.values())
    # The biases of quantized layers are stored in 16 bits, whatever the rest is.
    checkpoint = models.checkpoint(model)
    computed = GPTQ.layout(chosen, FLOAT32, checkpoint).buffer_bytes  # in no file
    assert stored + biases + computed == GPTQ.estimate(chosen, FLOAT32, checkpoint)
