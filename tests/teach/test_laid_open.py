"""What is laid open of a method is, bit by bit, what a variant loaded by it holds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from quantlab.methods import METHODS, PRECISIONS, method_of, precision
from quantlab.methods.gptq import grid
from quantlab.methods.gptq.packed import factors
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import silent
from quantlab.teach.inside import grids
from tests.loading import load, store, variant

LAYERS = ("model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj")
ROWS = slice(3, 7)


def weights(model) -> dict[str, torch.Tensor]:
    loaded = load(model, "fp32")
    found = {layer: loaded.module.get_submodule(layer).weight.detach().clone() for layer in LAYERS}
    loaded.close()
    return found


@pytest.fixture(scope="module")
def original(small):
    return weights(small)


def laid_open(name: str, weight: torch.Tensor, rows: slice = slice(None), layer: str = "") -> Rounded:
    chosen = precision(name)
    return method_of(chosen).rounded(chosen, Matrix(weight, rows, f"{layer}.weight" * bool(layer)))


def stands_for(found: Rounded) -> torch.Tensor:
    """Every value again, from its code and its group's levels."""
    levels = torch.stack([found.levels(group) for group in range(len(found.scale))])
    return levels[found.group, found.codes - found.first]


@pytest.mark.parametrize("name", ["nf4", "nf4-dq", "fp4", "fp4-dq"])
def test_bitsandbytes_4_bit(small, original, name):
    from bitsandbytes.functional import dequantize_4bit

    loaded = load(small, name)
    for layer, weight in original.items():
        held = loaded.module.get_submodule(layer).weight
        found = laid_open(name, weight)
        packed = [int(byte) for byte in held.data.flatten()]
        codes = [half for byte in packed for half in (byte // 16, byte % 16)][: weight.numel()]
        assert found.codes.flatten().tolist() == codes
        assert torch.equal(found.values, dequantize_4bit(held.data, held.quant_state).view_as(weight))
        assert torch.equal(stands_for(found), found.values)
    loaded.close()


@pytest.mark.parametrize("name", ["int8", "int8-plain"])
def test_bitsandbytes_8_bit(small, original, name):
    from bitsandbytes.functional import int8_vectorwise_dequant

    loaded = load(small, name)
    for layer, weight in original.items():
        held = loaded.module.get_submodule(layer).weight
        found = laid_open(name, weight)
        assert torch.equal(found.codes, held.CB.long())
        assert torch.equal(found.values, int8_vectorwise_dequant(held.CB, held.SCB))
        assert torch.allclose(stands_for(found), found.values, rtol=1e-6, atol=0), "absmax / 127 a code"
    loaded.close()


@pytest.mark.parametrize("name", ["rtn-8", "rtn-4", "rtn-3", "rtn-2-g32", "rtn-4-sym", "rtn-3-g16-sym"])
def test_round_to_nearest(small, original, name):
    loaded = load(small, name)
    for layer, weight in original.items():
        held, found = loaded.module.get_submodule(layer), laid_open(name, weight)
        assert torch.equal(found.values, held.dequantize(torch.float32))
        assert torch.equal(stands_for(found), found.values)
        # The product with ones alone in each column reads the weight back without the layer's own dequantize.
        assert torch.equal(held(torch.eye(weight.shape[1])).T, found.values)
    loaded.close()


@pytest.mark.parametrize(
    "name",
    ["nf4", "nf4-dq", "fp4-dq", "int8", "rtn-3", "q8_0", "q4_0", "hqq-4", "hqq-3", "ao-int8", "ao-float8", "ao-int4"],
)
def test_some_rows_are_the_same_as_in_the_whole(original, name):
    weight = original[LAYERS[1]]
    part, whole = laid_open(name, weight, ROWS), laid_open(name, weight)
    assert torch.equal(part.codes, whole.codes[ROWS]) and torch.equal(part.values, whole.values[ROWS])
    assert torch.equal(stands_for(part), stands_for(whole)[ROWS])
    assert dict(part.parts) == dict(whole.parts)


def test_rows_that_are_no_whole_blocks_share_one_as_bitsandbytes_does_it():
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    assert torch.equal(laid_open("nf4", weight, ROWS).values, dequantize_4bit(packed, state)[ROWS])


@pytest.mark.parametrize("name", [name for name in grids.names() if name in PRECISIONS])
def test_the_parts_are_what_the_method_promises(name):
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    parts = dict(laid_open(name, weight).parts)
    if name.startswith("hqq"):  # the method counts what hangs on the type of the products apart
        assert parts.pop("scales") == parts.pop("zero points") == 4 * weight.numel() / 64
    assert sum(parts.values()) == method_of(precision(name)).weight_bytes(precision(name), 64, 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hqq-4", "hqq-3", "hqq-2", "hqq-1"])
def test_hqq(small, original, name):
    loaded = load(small, name)
    bits = precision(name).weight_bits
    for layer, weight in original.items():
        held, found = loaded.module.get_submodule(layer), laid_open(name, weight)
        assert type(held).__name__ == "HQQLinear"
        assert torch.equal(found.values, held.dequantize()) and torch.equal(stands_for(found), found.values)
        assert torch.equal(held(torch.eye(weight.shape[1])).T, found.values), "the layer's own product reads it back"
        assert found.codes.min() >= 0 and int(found.codes.max()) == 2**bits - 1
        packed = _hqq_codes(held.W_q, bits)[: weight.numel() // 64]
        assert torch.equal(found.codes.view(-1, 64), packed)
    loaded.close()


def _hqq_codes(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes as the package packs them: the first rows in the highest bits, 3 bits by tens in 32."""
    each = 10 if bits == 3 else 8 // bits
    return torch.cat([(words.long() >> (bits * place)) % 2**bits for place in reversed(range(each))])


def test_hqq_fits_a_matrix_once_for_all_its_rows(monkeypatch):
    from hqq.core import quantize

    fitted = []
    real = quantize.Quantizer.quantize
    monkeypatch.setattr(quantize.Quantizer, "quantize", lambda *args, **more: fitted.append(1) or real(*args, **more))
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(5))
    for row in (0, 7):
        laid_open("hqq-2", weight, slice(row, row + 1))
    assert len(fitted) == 1
    laid_open("hqq-2", weight.clone())
    assert len(fitted) == 2, "equal numbers are another tensor"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ao-int8", "ao-float8"])
def test_torchao_8_bit(small, original, name):
    loaded = load(small, name)
    for layer, weight in original.items():
        held, found = loaded.module.get_submodule(layer).weight, laid_open(name, weight)
        assert torch.equal(found.values, held.dequantize())
        assert torch.equal(stands_for(found), found.values)
        assert torch.equal(found.scale, held.scale.flatten())
        assert torch.equal(found.table[found.codes - found.first], held.qdata.float())
    loaded.close()


def test_the_levels_of_float8_are_those_of_its_definition():
    """OCP 8-bit floating point, e4m3: 2^(exponent - 7) * (1 + mantissa / 8), without the 1 where the exponent is 0."""
    found = laid_open("ao-float8", torch.randn(2, 64, generator=torch.Generator().manual_seed(1)))
    bits = [divmod(it, 8) for it in range(127)]
    expected = [2.0 ** max(exponent - 7, -6) * (mantissa / 8 + (exponent > 0)) for exponent, mantissa in bits]
    assert found.table[found.table >= 0].tolist() == expected and max(expected) == 448
    assert torch.equal(found.table, -found.table.flip(0)) and len(found.table) == 253


def test_torchao_4_bit_is_what_the_kernel_multiplies():
    """Its tensors lie on NVIDIA GPUs alone; torch has the same kernel for processors, and a product with ones alone in
    each column reads the weight back."""
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(2))
    found = laid_open("ao-int4", weight)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(found.codes.int(), 2)
    pairs = torch.stack((found.scale, found.minimum), dim=-1).view(64, 4, 2).transpose(0, 1).contiguous().bfloat16()
    read = torch.ops.aten._weight_int4pack_mm_for_cpu(torch.eye(256, dtype=torch.bfloat16), packed, 64, pairs)
    assert torch.equal(read.T.float(), found.values)
    for row, group in ((0, 0), (63, 3)):
        numbers = weight[row, group * 64 : group * 64 + 64].bfloat16().double()
        scale = ((numbers.max() - numbers.min()) / 15).bfloat16()
        assert float(scale) == float(found.scale[row * 4 + group])
        codes = ((numbers - numbers.min()) / scale.double()).round().clamp(0, 15)
        there = found.codes[row, group * 64 : group * 64 + 64]
        assert (codes - there).abs().max() <= 1 and (codes != there).double().mean() < 0.1


# GGUF

FILE_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "Q5_1", "Q5_0", "Q4_1")


@pytest.fixture(scope="module")
def exported(demo, tmp_path_factory):
    """The demo as an un-quantized file of llama.cpp."""
    from quantlab.methods.gguf.building import _config
    from quantlab.methods.gguf.export import export

    file = tmp_path_factory.mktemp("gguf") / "export.gguf"
    export(demo, _config(demo), file, silent)
    return file


@pytest.fixture(scope="module")
def demo_weights(demo):
    return weights(demo)


@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_files_of_llama_cpp(demo, demo_weights, exported, file_type):
    import gguf

    from quantlab import models
    from quantlab.methods.gguf.grid import grid
    from quantlab.methods.gguf.quantize import quantize

    file = exported.with_name(f"{file_type}.gguf")
    quantize(exported, file, file_type, silent)
    tensors = {it.name: it for it in gguf.GGUFReader(file).tensors}
    names = dict(zip(LAYERS, ("blk.0.attn_v.weight", "blk.1.ffn_down.weight"), strict=True))
    for layer, weight in demo_weights.items():
        held = tensors[names[layer]]
        # Legacy file types have no rule of their own among the precisions: the type is named.
        wanted = held.tensor_type.name if file_type in ("Q5_1", "Q5_0", "Q4_1") else file_type
        found = grid(Matrix(weight, name=f"{layer}.weight", checkpoint=models.checkpoint(demo)), wanted)
        values = gguf.dequantize(held.data, held.tensor_type)
        assert np.array_equal(found.values.numpy(), values)
        assert torch.equal(stands_for(found), found.values)
        bits = 8 * sum(found.parts.values()) / weight.numel()
        assert bits == 8 * held.n_bytes / weight.numel()
        unpacked = UNPACKED.get(held.tensor_type.name)
        if unpacked is not None:
            block = held.data[2].tobytes()
            assert found.codes[2, :32].tolist() == unpacked(block)


def _q8_0(block: bytes) -> list[int]:
    return [code - 256 * (code > 127) for code in block[2:34]]


def _q4_0(block: bytes) -> list[int]:
    return [byte % 16 - 8 for byte in block[2:18]] + [byte // 16 - 8 for byte in block[2:18]]


def _q4_k(block: bytes) -> list[int]:
    return [byte % 16 for byte in block[16:48]]


def _q6_k(block: bytes) -> list[int]:
    return [(low % 16 + 16 * (high % 4)) - 32 for low, high in zip(block[:32], block[128:160], strict=True)]


#: The first 32 codes of a row, by the structures of `ggml-common.h`.
UNPACKED = {"Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_K": _q4_k, "Q6_K": _q6_k}


def test_a_block_of_zeros_has_the_codes_that_lie_in_the_file():
    """With a scale of zero all levels are the same, and no value tells its code."""
    from quantlab.methods.gguf.grid import _quantized, grid

    weight = torch.zeros(1, 32)
    assert grid(Matrix(weight), "Q4_0").codes.flatten().tolist() == _q4_0(_quantized(weight, "Q4_0").tobytes())


# GPTQ and AWQ


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packed_codes_of_gptq(tmp_path, bits):
    """Against the definition, in plain loops: code i of a column is bits i * b to (i + 1) * b of its words."""
    from safetensors.torch import save_file

    from tests.methods.test_packed import GROUP, INPUTS, OUTPUTS, drawn

    held = drawn(bits, shuffled=True)
    save_file({f"layer.{name}": values.contiguous() for name, values in held.items()}, tmp_path / "model.safetensors")
    settings = {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": bits}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    chosen = precision(f"gptq-{bits}-g{GROUP}")
    matrix = Matrix(torch.zeros(OUTPUTS, INPUTS), slice(5, 7), "layer.weight")
    found = METHODS["gptq"].kept_rounded(chosen, tmp_path, matrix)
    for row, output in enumerate((5, 6)):
        words = held["qweight"][:, output].tolist()
        stream = sum((word % 2**32) << (32 * place) for place, word in enumerate(words))
        codes = [(stream >> (bits * place)) % 2**bits for place in range(INPUTS)]
        assert found.codes[row].tolist() == codes
        for place, group in enumerate(held["g_idx"].tolist()):
            line = sum((word % 2**32) << (32 * at) for at, word in enumerate(held["qzeros"][group].tolist()))
            zero = ((line >> (bits * output)) + 1) % 2**bits
            expected = np.float32(held["scales"][group, output].item()) * np.float32(codes[place] - zero)
            assert found.values[row, place].item() == expected
    assert torch.equal(stands_for(found), found.values)


@pytest.mark.slow
def test_a_kept_checkpoint_of_gptq_is_what_is_loaded(demo):
    from tests.loading import LITTLE

    loaded = load(demo, "gptq-4", calibration=LITTLE)
    folder = store().found(variant(demo, "gptq-4", calibration=LITTLE))
    for layer in LAYERS:
        module = loaded.module.get_submodule(layer)
        matrix = Matrix(torch.zeros(module.out_features, module.in_features), name=f"{layer}.weight")
        found = METHODS["gptq"].kept_rounded(precision("gptq-4"), folder, matrix)
        expected = module(torch.eye(module.in_features)).T
        assert torch.allclose(found.values, expected, rtol=2e-2, atol=1e-2), "up to the rounding of its kernel"
    loaded.close()
    assert store().found(variant(demo, "gptq-8-g128", calibration=LITTLE)) is None


@pytest.mark.slow
def test_a_kept_checkpoint_of_awq_is_what_is_loaded_in_numbers_of_the_original(demo):
    from tests.loading import LITTLE

    loaded, whole = load(demo, "awq-4", calibration=LITTLE), weights(demo)
    folder = store().found(variant(demo, "awq-4", calibration=LITTLE))
    for layer, original in whole.items():
        module = loaded.module.get_submodule(layer)
        matrix = Matrix(original, name=f"{layer}.weight")
        found = METHODS["awq"].kept_rounded(precision("awq-4"), folder, matrix)
        stored = grid.kept(matrix, "awq", 4, folder, {})
        assert torch.equal(found.codes, stored.codes) and torch.equal(stands_for(found), found.values)
        held = module(torch.eye(module.in_features)).T
        assert torch.allclose(stored.values, held, rtol=2e-2, atol=1e-2), "up to the rounding of its kernel"
        factor = stored.values / found.values
        at = found.values != 0
        columns, rows = factors(original, stored.values)
        assert torch.allclose(factor[at], (rows * columns)[at], rtol=1e-5)
        error, plain = (found.values - original).norm(), (stored.values - original).norm()
        assert error < 0.2 * original.norm() and error <= plain
        some = METHODS["awq"].kept_rounded(precision("awq-4"), folder, replace(matrix, rows=ROWS))
        assert torch.equal(some.values, found.values[ROWS]) and torch.equal(stands_for(some), some.values)
    loaded.close()


def test_the_codes_of_awq_are_read_in_its_own_order(tmp_path):
    """AutoAWQ packs eight outputs into a word in the order 0 2 4 6 1 3 5 7; the columns' factors are taken back."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(0, 16, (128, 16), generator=generator)
    words = torch.zeros(128, 2, dtype=torch.int64)
    for output in range(16):
        place = (0, 2, 4, 6, 1, 3, 5, 7).index(output % 8)
        words[:, output // 8] |= codes[:, output] << (4 * place)
    words = torch.where(words >= 2**31, words - 2**32, words).int()
    zeros = torch.full((2, 2), int.from_bytes(b"\x88" * 4, "big") - 2**32, dtype=torch.int64).int()  # 8 for all
    scales = torch.rand(2, 16, generator=generator).half() + 0.5
    save_file({"layer.qweight": words, "layer.qzeros": zeros, "layer.scales": scales}, tmp_path / "model.safetensors")
    settings = {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    stored = (codes - 8).T * scales.float().repeat_interleave(64, 0).T
    column = torch.linspace(0.5, 2, 128)
    matrix = Matrix(stored / column, slice(3, 5), "layer.weight")  # what it was before it was multiplied
    found = METHODS["awq"].kept_rounded(precision("awq-4-g64"), tmp_path, matrix)
    assert torch.equal(found.codes, codes.T[3:5]) and found.zero.unique().tolist() == [8.0]
    assert torch.allclose(found.values, (stored / column)[3:5], rtol=1e-4)


def test_the_library_is_there_as_a_whole_before_it_is_called(monkeypatch):
    """While the page starts, another thread imports it too."""
    from quantlab.methods import bitsandbytes_grid, method_of, precision
    from quantlab.methods.rounded import Matrix

    waited = []
    monkeypatch.setattr("quantlab.methods.bitsandbytes.import_module", waited.append)
    monkeypatch.setattr(bitsandbytes_grid, "four_bit", lambda *_: list(waited))
    chosen = precision("nf4")
    assert method_of(chosen).rounded(chosen, Matrix(torch.ones(1, 64))) == ["bitsandbytes"]
