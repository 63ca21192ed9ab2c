"""bitsandbytes through the loader: the weights are the library's own, its options arrive, awkward layers are kept."""

import pytest
import torch
import transformers

from quantlab.errors import BadInput
from quantlab.methods import PRECISIONS, precision
from quantlab.records import Model, Placement, Variant
from quantlab.runs import estimates
from quantlab.runtime.placement import resolve
from tests import tiny
from tests.loading import load

FOUR_BITS = [name for name, p in PRECISIONS.items() if p.method == "bitsandbytes" and p.quant_type != "int8"]
LAYER = "model.layers.1.mlp.gate_proj"
PROMPT = [1, *range(40, 52)]
FLOAT32 = Placement("cpu", "float32")


@pytest.fixture(scope="module")
def weight(llama) -> torch.Tensor:
    loaded = load(llama, "fp32")
    weight = loaded.module.get_submodule(LAYER).weight.clone()
    loaded.close()
    return weight


def test_the_table_names_all_four_bit_types():
    assert FOUR_BITS == ["nf4", "nf4-dq", "fp4", "fp4-dq"]
    assert PRECISIONS["nf4"].bits == 4.5
    assert PRECISIONS["nf4-dq"].bits == pytest.approx(4.127, abs=0.001)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FOUR_BITS)
def test_four_bit_weights_are_what_the_library_makes_of_them(llama, weight, name, dtype):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    loaded = load(llama, name, placement=Placement("cpu", dtype))
    held = loaded.module.get_submodule(LAYER).weight
    state = held.quant_state
    chosen = precision(name)
    assert (state.blocksize, state.quant_type, state.nested) == (64, chosen.quant_type, chosen.double)
    codes, ours = quantize_4bit(
        weight.to(getattr(torch, dtype)), blocksize=64, compress_statistics=chosen.double, quant_type=chosen.quant_type
    )
    expected = dequantize_4bit(codes, ours)
    assert torch.equal(dequantize_4bit(held.data, state), expected)
    assert 0 < (expected.float() - weight).abs().max() < 0.25 * weight.abs().max()
    loaded.close()


@pytest.mark.parametrize("name", ["int8", "int8-plain"])
def test_int8_weights_and_threshold_are_the_librarys(llama, weight, name):
    from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant

    loaded = load(llama, name, placement=FLOAT32)
    layer = loaded.module.get_submodule(LAYER)
    assert layer.state.threshold == {"int8": 6.0, "int8-plain": 0.0}[name]
    codes, scales, _ = int8_vectorwise_quant(weight.half())
    loaded.start().forward(PROMPT)  # from here on the layer keeps its scales beside the codes for its products
    held = int8_vectorwise_dequant(layer.state.CB, layer.state.SCB)
    assert torch.equal(held, int8_vectorwise_dequant(codes, scales))
    assert (held - weight).abs().max() <= weight.abs().max() / 127
    loaded.close()


def test_outlier_columns_are_multiplied_in_16_bits_only_with_a_threshold(llama):
    """One activation far above 6 spoils the 8-bit steps of all others, unless its column is taken out."""
    activations = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    activations[:, 7] = 60
    error = {}
    for name in ("int8", "int8-plain"):
        loaded = load(llama, name, placement=FLOAT32)
        dense = load(llama, "fp32")
        layers = [model.module.get_submodule(LAYER) for model in (loaded, dense)]
        with torch.inference_mode():
            ours, exact = (layer(activations) for layer in layers)
        error[name] = float((ours - exact).square().mean().sqrt())
        loaded.close()
        dense.close()
    assert 2 * error["int8"] < error["int8-plain"], "what is left is the rounding of the weights"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_compute_dtype_reaches_the_layers_and_the_unquantized_parts(llama, dtype, monkeypatch):
    monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda: False)
    loaded = load(llama, "nf4", placement=Placement("cpu", dtype))
    layer = loaded.module.get_submodule(LAYER)
    assert layer.compute_dtype == loaded.module.lm_head.weight.dtype == getattr(torch, dtype)
    assert loaded.facts.compute_dtype == dtype
    assert torch.isfinite(loaded.start().forward(PROMPT)).all()
    loaded.close()


def test_the_dtype_shown_is_the_one_that_the_kernel_takes(llama, monkeypatch):
    monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda: True)
    loaded = load(llama, "nf4", placement=FLOAT32)
    assert loaded.facts.compute_dtype == "bfloat16" and "avx512_bf16" in loaded.facts.kernel
    loaded.close()
    loaded = load(llama, "int8", placement=FLOAT32)
    assert "float16" in loaded.facts.compute_dtype and "LLM.int8" in loaded.facts.kernel
    loaded.close()


def test_int8_is_no_compute_dtype(llama):
    with pytest.raises(BadInput, match="int8 cannot be a compute dtype") as refused:
        load(llama, "nf4", placement=Placement("cpu", "int8"))
    assert "multiplied as floating point" in refused.value.advice and "bfloat16" in refused.value.advice


def awkward(folder) -> Model:
    """Twelve layers, of which the MLP's have 120 units: no multiple of 32 as outputs, none of 64 as inputs."""
    sizes = tiny.FAMILIES["llama"]().to_dict() | {"intermediate_size": 120, "num_hidden_layers": 12}
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(folder)
    tiny.letters().save_pretrained(folder)
    return Model("awkward", "folder", folder)


@pytest.mark.parametrize("name", ["nf4", "fp4-dq"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_of_every_size_are_quantized_and_multiplied_rightly(tmp_path, name, dtype):
    """The fused kernel takes none of these: "N must be divisible by block_n", "shape '[64, 1]' is invalid"."""
    from bitsandbytes.functional import dequantize_4bit

    model = awkward(tmp_path)
    placement = Placement("cpu", dtype)
    loaded = load(model, name, placement=placement)
    assert {n for n, m in loaded.module.named_modules() if type(m) is torch.nn.Linear} == {"lm_head"}
    assert not [note for note in loaded.facts.notes if "un-quantized" in note]
    # Before the first product: the fused kernel lays scales out anew and undoes their own quantization.
    estimated = estimates.estimated_bytes(Variant(model, precision(name), resolve(placement)))
    assert estimated == pytest.approx(loaded.storage().total, rel=0.01)
    for part in ("gate_proj", "down_proj"):
        layer = loaded.module.get_submodule(f"model.layers.3.mlp.{part}")
        for rows in (1, 5):
            given = torch.randn(rows, layer.in_features).to(getattr(torch, dtype))
            with torch.inference_mode():
                product = layer(given).float()
                exact = given.float() @ dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().T
            assert (product - exact).norm() < 0.01 * exact.norm()
    session = loaded.start()
    assert torch.isfinite(session.forward(PROMPT)).all() and torch.isfinite(session.forward([55])).all()
    loaded.close()


def test_gpt2_whose_weights_lie_the_other_way_round(tmp_path):
    from bitsandbytes.functional import dequantize_4bit

    model = tiny.write(tmp_path, "gpt2")
    dense, rounded, eight = (load(model, name, placement=FLOAT32) for name in ("fp32", "nf4", "int8"))
    name = "transformer.h.0.mlp.c_fc"
    conv, held = (loaded.module.get_submodule(name).weight for loaded in (dense, rounded))
    again = dequantize_4bit(held.data, held.quant_state)
    assert again.shape == conv.T.shape
    assert (again - conv.T).abs().max() < 0.25 * conv.abs().max()
    probabilities = [loaded.start().forward(PROMPT).softmax(-1) for loaded in (dense, eight)]
    assert (probabilities[0] - probabilities[1]).abs().max() < 0.1
    for loaded in (dense, rounded, eight):
        loaded.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["nf4", "fp4-dq"])
def test_a_transposed_view_is_multiplied_like_any_input(llama, name, dtype):
    """The fused kernel reads it as if it were in order: what comes out then is twice as far off as nothing at all."""
    from bitsandbytes.functional import dequantize_4bit

    loaded = load(llama, name, placement=Placement("cpu", dtype))
    layer = loaded.module.model.layers[0].mlp.down_proj
    weight = dequantize_4bit(layer.weight.data.clone(), layer.weight.quant_state).float()
    given = torch.randn(1, 128, 11, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype)).mT
    layer(given)  # the kernel repacks at its first product
    got, expected = layer(given).float(), given.float() @ weight.T
    assert (got - expected).norm() < 0.02 * expected.norm()
    loaded.close()
