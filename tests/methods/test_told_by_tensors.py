"""What a checkpoint is and how many bits it has is told by its tensors, not by its flags. No weights are needed."""

from dataclasses import replace

import pytest
import torch
import transformers

from quantlab import models
from quantlab.methods import METHODS, most_precise, precision
from quantlab.methods.published import as_stored
from quantlab.models.layouts import stored_as_by_tensors
from quantlab.records import Checkpoint, ResolvedPlacement, TensorInfo, Variant, silent
from quantlab.settings import AppSettings
from tests.loading import load_variant
from tests.tiny import letters, write

STORED = METHODS["stored"]
Q = "model.layers.0.self_attn.q_proj"
D = "model.layers.0.mlp.down_proj"


def of(tensors: dict[str, tuple[tuple[int, ...], str]], **settings) -> Checkpoint:
    infos = {name: TensorInfo(shape, dtype) for name, (shape, dtype) in tensors.items()}
    config = {"model_type": "llama"} | ({"quantization_config": settings} if settings else {})
    return models.folders.checkpoint(config, infos)


def four_bit(storage: str, element: int) -> Checkpoint:
    """bitsandbytes' nf4 of a matrix of 128 x 256, its codes kept as `storage`."""
    tensors = {
        f"{Q}.weight": ((128 * 256 // 2 // element, 1), storage),
        f"{Q}.weight.absmax": ((128 * 256 // 64,), "F32"),
        f"{Q}.weight.quant_map": ((16,), "F32"),
        f"{Q}.weight.quant_state.bitsandbytes__nf4": ((80,), "U8"),
    }
    return of(tensors, quant_method="bitsandbytes", load_in_4bit=True)


@pytest.mark.parametrize(("storage", "element"), [("U8", 1), ("BF16", 2), ("F32", 4)])
def test_four_bit_codes_are_four_bits_in_whatever_type_they_lie(storage, element):
    bits = STORED.bits_of(four_bit(storage, element))
    assert bits == pytest.approx(4 + 32 / 64 + 16 * 32 / (128 * 256))


def test_eight_bits_here_go_before_four_bits_of_a_file():
    published = as_stored(four_bit("BF16", 2), "published")
    assert most_precise((published, precision("int8"))).name == "int8"


def test_each_layer_has_the_bits_of_its_own_group():
    """Attention at 8 bits with a scale a row, the rest at 4 in groups of 32, as llm-compressor mixes them."""
    tensors = {
        f"{Q}.weight_packed": ((128, 32), "I32"),
        f"{Q}.weight_scale": ((128, 1), "BF16"),
        f"{D}.weight_packed": ((128, 32), "I32"),
        f"{D}.weight_scale": ((128, 8), "BF16"),
    }
    groups = {
        "g0": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "strategy": "channel"}},
        "g1": {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 32}},
    }
    mixed = of(tensors, quant_method="compressed-tensors", config_groups=groups)
    weights = 128 * 128 + 128 * 256
    expected = (2 * 128 * 32 * 32 + 128 * 16 + 128 * 8 * 16) / weights
    assert STORED.bits_of(mixed) == pytest.approx(expected) == pytest.approx(5.708, abs=0.001)
    assert most_precise((as_stored(mixed, "mixed"), precision("rtn-8"))).name == "rtn-8"


@pytest.mark.parametrize("said", [4, 8])
def test_the_scales_of_groups_tell_the_bits_whatever_the_settings_say(said):
    tensors = {f"{D}.weight_packed": ((128, 32), "I32"), f"{D}.weight_scale": ((128, 8), "BF16")}
    groups = {"g": {"targets": ["Linear"], "weights": {"num_bits": said, "strategy": "group", "group_size": 32}}}
    found = of(tensors, quant_method="compressed-tensors", config_groups=groups)
    assert STORED.bits_of(found) == pytest.approx(4 + 16 / 32)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_says_how_many_weights_by_the_group_of_each_column(bits):
    tensors = {
        f"{Q}.qweight": ((256 * bits // 32, 128), "I32"),
        f"{Q}.qzeros": ((4, 128 * bits // 32), "I32"),
        f"{Q}.scales": ((4, 128), "F16"),
        f"{Q}.g_idx": ((256,), "I32"),
    }
    found = of(tensors, quant_method="gptq", bits=4)  # a setting that may be wrong for this layer
    stored = 256 * 128 * bits + 4 * 128 * bits + 4 * 128 * 16 + 256 * 32
    assert STORED.bits_of(found) == pytest.approx(stored / (256 * 128))


@pytest.mark.parametrize(
    ("tensors", "name"),
    [
        ({"a.weight": ((8, 4), "U32"), "a.scales": ((8, 1), "BF16"), "a.biases": ((8, 1), "BF16")}, "mlx"),
        ({"a.qweight": ((4, 8), "I32"), "a.scales": ((1, 8), "F16"), "a.qzeros": ((1, 1), "I32")}, "gptq"),
        ({"a.qweight": ((32, 1), "I32"), "a.scales": ((1, 8), "F16"), "a.qzeros": ((1, 1), "I32")}, "awq"),
        ({"a.weight": ((8, 8), "I8"), "a.SCB": ((8,), "F32")}, "bitsandbytes"),
        ({"a.weight_packed": ((8, 1), "I32"), "a.weight_scale": ((8, 1), "F16")}, "compressed-tensors"),
        ({"a.W_q": ((8, 4), "U8"), "a.scale": ((8, 1), "F16")}, "hqq"),
        ({"a.trellis": ((8, 4), "I16"), "a.suh": ((8,), "F16")}, "exl3"),
        ({"a.q_weight": ((8, 4), "I32"), "a.q_invperm": ((8,), "I16")}, "exl2"),
        ({"a.codes": ((8, 4), "I16"), "a.codebooks": ((1, 256, 1, 8), "F16")}, "aqlm"),
        ({"a.weight": ((8, 8), "F8_E4M3"), "a.weight_scale_inv": ((1, 1), "F32")}, "fp8"),
        ({"a.gate_up_proj_blocks": ((4, 8, 2, 16), "U8"), "a.gate_up_proj_scales": ((4, 8, 2), "U8")}, "mxfp4"),
        ({"a.weight": ((8, 8), "BF16"), "a.bias": ((8,), "BF16")}, None),
        ({"a.embed_scale": ((1,), "F32"), "a.weight": ((8, 8), "F32")}, None),
    ],
)
def test_a_way_of_storing_is_known_by_its_tensors(tensors, name):
    infos = {key: TensorInfo(shape, dtype) for key, (shape, dtype) in tensors.items()}
    assert stored_as_by_tensors(infos) == name
    found = models.folders.checkpoint({"model_type": "llama"}, infos)
    assert found.stored_as == name
    if name is not None:
        assert f"({name})" in METHODS["dense"].refuses(precision("fp32"), found, "cpu")


def test_what_cannot_be_loaded_is_refused_by_its_name():
    found = replace(of({"a.weight": ((8, 4), "U32"), "a.scales": ((8, 1), "BF16")}), stored_as="mlx")
    assert "cannot load weights stored by mlx" in STORED.refuses(STORED.precisions[0], found, "cpu")


def test_codes_in_a_floating_type_are_counted_as_quantized(tmp_path):
    from transformers import BitsAndBytesConfig

    source, folder = tmp_path / "source", tmp_path / "stored"
    write(source, "llama", letters())
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=torch.bfloat16)
    made = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, quantization_config=how)
    made.save_pretrained(folder)
    letters().save_pretrained(folder)
    model = models.resolve(str(folder), AppSettings())
    chosen = as_stored(models.checkpoint(model), "stored")
    brought = load_variant(Variant(model, chosen, ResolvedPlacement("cpu", "float32")), silent)
    assert 4.5 <= chosen.bits < 4.7 and brought.stored.bits_per_quantized_weight == pytest.approx(chosen.bits, rel=0.02)
    assert not [note for note in brought.loaded.facts.notes if "estimated" in note]
    brought.loaded.close()


def test_of_two_types_of_sixteen_bits_the_one_that_reaches_farther_is_the_reference():
    """A model whose activations leave float16's range gave no numbers, and everything was compared with that."""
    chosen = tuple(precision(name) for name in ("fp16", "nf4", "bf16"))
    assert most_precise(chosen).name == most_precise(chosen[::-1]).name == "bf16"
    assert most_precise((precision("fp16"), precision("int8"))).name == "fp16"
    assert most_precise((precision("bf16"), precision("fp32"))).name == "fp32"
