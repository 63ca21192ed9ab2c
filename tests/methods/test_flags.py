"""Whatever config.json says of quantized weights, the tensors of the files decide."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab import models
from quantlab.errors import ModelError
from quantlab.methods import METHODS, STORED, precision
from quantlab.methods.gptq.packed import weight_of
from quantlab.models.layouts import Packed, corrected, packed_bits, stored_as
from quantlab.records import Model, Placement, TensorInfo, silent
from quantlab.runtime.placement import resolve
from tests.methods.test_stored import PROMPT

CHOSEN = STORED.precisions[0]
FULL = resolve(Placement("cpu", "float32"))


def infos(tensors: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(shape, dtype) for name, (shape, dtype) in tensors.items()}


def copied(source: Path, folder: Path, **settings) -> Model:
    """The folder again, with other settings of how it is quantized; without any: none."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    for beside in ("quantize_config.json", "quant_config.json"):
        (folder / beside).unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config | ({"quantization_config": settings} if settings else {})))
    return Model("copied", "folder", folder)


def logits(model: Model, name: str | None = None) -> torch.Tensor:
    method, chosen = (STORED, CHOSEN) if name is None else (METHODS["dense"], precision(name))
    loaded = method.load(model, chosen, FULL, silent)
    try:
        return loaded.start().forward(PROMPT).clone()
    finally:
        loaded.close()


def settings_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 32},
        {"quant_method": "awq", "bits": 4, "group_size": 32},
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"load_in_8bit": True},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    ],
)
def test_original_weights_beside_settings_of_a_copy_are_original_weights(llama, tmp_path, settings):
    model = copied(llama.folder, tmp_path / "stale", **settings)
    assert models.checkpoint(model).stored_as is None and "quantization_config" not in models.config(model)
    assert METHODS["dense"].refuses(precision("fp32"), models.checkpoint(model), "cpu") is None
    assert torch.equal(logits(model, "fp32"), logits(llama, "fp32"))


@pytest.mark.parametrize(
    ("name", "wrong"), [("gptq", "awq"), ("awq", "gptq"), ("nf4", "gptq"), ("gptq", "bitsandbytes")]
)
def test_settings_of_another_method_are_refused(published, tmp_path, name, wrong):
    model = copied(published[name], tmp_path / "wrong", quant_method=wrong, bits=4, group_size=32, load_in_4bit=True)
    told = {"nf4": "bitsandbytes"}.get(name, name)
    with pytest.raises(ModelError, match=f"stored by {wrong}, but they are stored by {told}"):
        models.checkpoint(model)
    with pytest.raises(ModelError, match=f"but they are stored by {told}"):
        STORED.load(model, CHOSEN, FULL, silent)


WRONG = [
    ("nf4", {"load_in_4bit": False, "load_in_8bit": True}),
    ("nf4", {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}),
    ("int8", {"load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4"}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_wrong_settings_of_bitsandbytes_are_read_from_the_tensors(published, tmp_path, name, wrong):
    model = copied(published[name], tmp_path / "wrong", **settings_of(published[name]) | wrong)
    right = Model(name, "folder", published[name])
    loaded = [STORED.load(it, CHOSEN, FULL, silent) for it in (model, right)]
    assert loaded[0].facts == loaded[1].facts
    assert torch.equal(*(it.start().forward(PROMPT) for it in loaded))
    for each in loaded:
        each.close()


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_wrong_bits_and_groups_are_read_from_the_tensors(published, tmp_path, name):
    wrong = settings_of(published[name]) | {"bits": 8, "group_size": 128}
    model = copied(published[name], tmp_path / "wrong", **wrong)
    found = models.config(model)["quantization_config"]
    assert (found["bits"], found["group_size"]) == (4, 32)
    assert torch.equal(logits(model), logits(Model(name, "folder", published[name])))


@pytest.mark.parametrize(
    ("name", "file", "beside"),
    [
        ("gptq", "quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": False, "sym": True}),
        ("awq", "quant_config.json", {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}),
    ],
)
def test_settings_in_a_file_of_their_own_are_enough(published, tmp_path, name, file, beside):
    model = copied(published[name], tmp_path / "older")
    assert "needs the settings" in STORED.refuses(CHOSEN, models.checkpoint(model), "cpu")
    (model.folder / file).write_text(json.dumps(beside))
    assert STORED.refuses(CHOSEN, models.checkpoint(model), "cpu") is None
    assert torch.equal(logits(model), logits(Model(name, "folder", published[name])))


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_layers_that_were_left_out_stay_as_they_are(published, tmp_path, name):
    """As with `dynamic: {"-:.*down_proj": {}}`: a layer is stored with its weight, here the very one of its codes."""
    settings = settings_of(published[name]) | {"dynamic": {"-:.*down_proj": {}}}
    model = copied(published[name], tmp_path / "mixed", **settings)
    tensors = load_file(model.folder / "model.safetensors")
    layer = "model.layers.1.mlp.down_proj"
    held = {
        key: tensors.pop(f"{layer}.{key}")
        for key in ("qweight", "qzeros", "scales", "g_idx")
        if f"{layer}.{key}" in tensors
    }
    tensors[f"{layer}.weight"] = weight_of(held, name, 4, settings.get("checkpoint_format", "gptq")).contiguous()
    save_file(tensors, model.folder / "model.safetensors", metadata={"format": "pt"})
    whole = logits(Model(name, "folder", published[name]))
    assert logits(model) == pytest.approx(whole, abs=4e-3 * float(whole.abs().max()))
    assert STORED.refuses(CHOSEN, models.checkpoint(model), "cpu") is None


def gptq(layer: str, bits: int, group: int, inputs: int = 128, outputs: int = 64):
    return {
        f"{layer}.qweight": ((inputs * bits // 32, outputs), "I32"),
        f"{layer}.qzeros": ((inputs // group, outputs * bits // 32), "I32"),
        f"{layer}.scales": ((inputs // group, outputs), "F16"),
    }


def test_layers_of_different_bits_are_refused_by_the_name_of_the_setting():
    tensors = infos(gptq("model.layers.0.a", 4, 32) | gptq("model.layers.0.b", 8, 32))
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"+:.*b": {"bits": 8}}}
    with pytest.raises(
        ModelError, match=r"0\.a: 4 bits in groups of 32, .*0\.b: 8 bits in groups of 32; its .*dynamic"
    ):
        corrected({"quantization_config": settings}, tensors)
    with pytest.raises(ModelError, match=r"different ways \(model\.layers\.0\.a: 4 bits in groups of 64"):
        mixed = infos(gptq("model.layers.0.a", 4, 64) | gptq("model.layers.0.b", 4, 32))
        corrected({"quantization_config": settings | {"dynamic": None}}, mixed)


@pytest.mark.parametrize(("said", "group"), [(-1, -1), (None, -1), (128, 128), (64, -1)])
def test_one_scale_a_row_is_one_group(said, group):
    tensors = infos(gptq("model.layers.0.a", 4, 128) | gptq("model.layers.0.b", 4, 64, inputs=64))
    settings = {"quant_method": "gptq", "bits": 4, "group_size": said}
    assert corrected({"quantization_config": settings}, tensors)["quantization_config"]["group_size"] == group


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_bits_are_told_by_shapes(bits):
    assert packed_bits("a", infos(gptq("a", bits, 32))) == Packed(bits, 32, whole=False)
    assert packed_bits("a", infos(gptq("a", bits, 128))) == Packed(bits, 128, whole=True)


@pytest.mark.parametrize(
    ("tensors", "named", "stored"),
    [
        ({"a.weight": ((8, 8), "I8"), "a.weight_scale": ((8, 1), "F32")}, None, "compressed-tensors"),
        ({"a.weight": ((8, 8), "F8_E4M3"), "a.weight_scale": ((8, 1), "F32")}, "fbgemm_fp8", "fbgemm_fp8"),
        (
            {"a.weight": ((8, 8), "F8_E4M3"), "a.weight_scale": ((8, 1), "F32")},
            "compressed-tensors",
            "compressed-tensors",
        ),
        (
            {"a.weight": ((8, 8), "F8_E4M3"), "a.weight_scale": ((8, 1), "F32")},
            "compressed_tensors",
            "compressed-tensors",
        ),
        ({"a.weight": ((8, 8), "F8_E4M3")}, None, None),
        ({"a.weight": ((8, 8), "F8_E4M3")}, "fp8", "fp8"),
        ({"a.weight": ((8, 4), "U32"), "a.scales": ((8, 1), "BF16")}, "", "mlx"),
        ({"a.qweight": ((8, 4), "U8"), "a.forward_hadamard_matrix": ((8, 8), "F32")}, "fp_quant", "fp_quant"),
        ({"a.weight": ((8, 8), "I16"), "a.grid": ((8,), "F16")}, None, "higgs"),
        ({"a.attn.bias": ((1, 1, 8, 8), "U8"), "a.weight": ((8, 8), "F32")}, None, None),
    ],
)
def test_what_is_stored_is_told_by_its_tensors(tensors, named, stored):
    config = {} if named is None else {"quantization_config": {"quant_method": named, "group_size": 64}}
    assert stored_as(config, infos(tensors)) == stored


@pytest.mark.parametrize("dtype", ["I8", "U8", "I32", "I16"])
def test_codes_without_scales_are_refused(dtype):
    with pytest.raises(ModelError, match=f"a.weight as {dtype}, codes without the scales"):
        stored_as({}, infos({"a.weight": ((8, 8), dtype), "b.weight": ((8, 8), "F16")}))


def test_layers_of_four_and_of_eight_bits_by_bitsandbytes_are_refused():
    tensors = {"a.weight.absmax": ((4,), "F32"), "b.SCB": ((4,), "F32"), "b.weight": ((4, 4), "I8")}
    with pytest.raises(ModelError, match=r"a\.weight\.absmax: 4 bits, b\.SCB: 8"):
        corrected({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, infos(tensors))


def test_groups_that_are_not_there_and_another_format_are_refused(published, tmp_path):
    """Read on, the first ended the run with an IndexError and the second gave other weights without a word."""
    settings = settings_of(published["gptq"])
    assert settings["sym"] and settings["checkpoint_format"] == "gptq"
    model = copied(published["gptq"], tmp_path / "format", **settings | {"checkpoint_format": "gptq_v2"})
    with pytest.raises(ModelError, match=r"zero points are those of the format gptq, and config\.json says gptq_v2"):
        STORED.load(model, CHOSEN, FULL, silent)
    model = copied(published["gptq"], tmp_path / "groups", **settings)
    tensors = load_file(model.folder / "model.safetensors")
    tensors = {key: it + 1000 if key.endswith("g_idx") else it for key, it in tensors.items()}
    save_file(tensors, model.folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"g_idx names group 1,00\d, and there are"):
        STORED.load(model, CHOSEN, FULL, silent)


def test_an_empty_setting_is_no_setting(llama, tmp_path):
    model = copied(llama.folder, tmp_path / "empty")
    config = json.loads((model.folder / "config.json").read_text()) | {"quantization_config": {}}
    (model.folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(model, "fp32"), logits(llama, "fp32"))
