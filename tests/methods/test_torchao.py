"""torchao: what a layer takes, that products are near the original's, and that what is written reloads."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from quantlab import models
from quantlab.errors import BadInput
from quantlab.methods import STORED, precision
from quantlab.methods.torchao import GROUP_SIZES, TORCHAO
from quantlab.records import Model, Placement, Variant, silent
from quantlab.runtime.placement import resolve
from tests import tiny
from tests.loading import load

ON_CPU = ("ao-int8", "ao-float8")
FULL = resolve(Placement("cpu", compute_dtype="float32"))
PROMPT = [1, *range(40, 52)]


@pytest.mark.parametrize("name", ON_CPU)
def test_a_layer_takes_what_is_told(llama, name):
    loaded = load(llama, name)
    for layer in loaded.module.model.layers:
        for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.mlp.up_proj, layer.mlp.down_proj):
            inner, _ = linear.weight.__tensor_flatten__()
            held = sum(getattr(linear.weight, each).nbytes for each in inner)
            assert TORCHAO.weight_bytes(precision(name), linear.out_features, linear.in_features) == held
    assert type(loaded.module.lm_head.weight) is torch.nn.Parameter
    loaded.close()


@pytest.mark.parametrize(("name", "error"), [("ao-int8", 0.01), ("ao-float8", 0.05)])
def test_weights_are_as_near_as_eight_bits_allow(llama, name, error):
    plain = AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32)
    loaded = load(llama, name, placement=FULL)
    for path in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        original = plain.get_submodule(path).weight
        stored = loaded.module.get_submodule(path).weight.dequantize().float()
        relative = (stored - original).norm() / original.norm()
        assert error / 20 < relative < error
    loaded.close()


@pytest.mark.parametrize("name", ON_CPU)
def test_what_is_written_reloads_by_plain_transformers_and_as_stored(llama, name, tmp_path):
    TORCHAO.build(Variant(llama, precision(name), FULL), tmp_path, silent)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    loaded = load(llama, name, placement=FULL)
    model = Model("written", "folder", tmp_path)
    assert models.checkpoint(model).stored_as == "torchao"
    stored = STORED.load(model, STORED.precisions[0], FULL, silent)
    expected = loaded.start().forward(PROMPT)
    with torch.inference_mode():
        assert torch.allclose(plain(torch.tensor([PROMPT])).logits[0, -1], expected, atol=1e-4)
    assert torch.allclose(stored.start().forward(PROMPT), expected, atol=1e-4)
    assert stored.stored_bytes() == loaded.stored_bytes()
    for each in (loaded, stored):
        each.close()


def test_four_bits_need_a_gpu_and_only_linear_layers_are_taken(llama, tmp_path):
    checkpoint = models.checkpoint(llama)
    assert "NVIDIA GPU" in TORCHAO.refuses(precision("ao-int4"), checkpoint, "cpu")
    assert TORCHAO.refuses(precision("ao-int4"), checkpoint, "cuda:0") is None
    gpt2 = models.checkpoint(tiny.write(tmp_path, "gpt2"))
    assert "linear layers" in TORCHAO.refuses(precision("ao-int8"), gpt2, "cpu")


def test_four_bits_take_what_the_padded_layer_takes():
    chosen = precision("ao-int4")
    assert chosen.bits == 4.5 and precision("ao-int4-g128").bits == 4.25
    assert TORCHAO.weight_bytes(chosen, 4096, 4096) == 4096 * 4096 // 2 + 4096 * (4096 // 64) * 4
    assert TORCHAO.weight_bytes(chosen, 9, 1000) is None, "rows that do not divide stay as they are"
    assert TORCHAO.weight_bytes(chosen, 9, 64) == 16 * 1024 // 2 + 16 * (1024 // 64) * 4
    assert TORCHAO.dtype(chosen, FULL) == "bfloat16", "the kernel knows no other"


def test_a_group_size_is_named_or_refused():
    for size in GROUP_SIZES:
        assert precision("ao-int4-g64" if size == 64 else f"ao-int4-g{size}").group_size == size
    with pytest.raises(BadInput, match="group size cannot be 48"):
        precision("ao-int4-g48")


@pytest.mark.gpu
def test_four_bits_on_a_gpu_take_what_is_told_and_reload(tmp_path):
    where = resolve(Placement("cuda"))
    model = tiny.write(tmp_path / "llama", "llama")
    loaded = load(model, "ao-int4", placement=Placement("cuda"))
    planned = TORCHAO.estimate(precision("ao-int4"), where, models.checkpoint(model))
    assert planned == loaded.stored_bytes()
    TORCHAO.build(Variant(model, precision("ao-int4"), where), tmp_path / "written", silent)
    written = Model("written", "folder", tmp_path / "written")
    stored = STORED.load(written, STORED.precisions[0], where, silent)
    assert torch.allclose(stored.start().forward(PROMPT), loaded.start().forward(PROMPT), atol=0.1)
