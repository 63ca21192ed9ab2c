"""Packed codes mean the weights that gptqmodel's own layers compute with."""

import pytest
import torch

from quantlab.methods.gptq.packed import weight_of

INPUTS, OUTPUTS, GROUP = 128, 64, 32


@pytest.fixture(scope="module", autouse=True)
def _gptqmodel():
    from quantlab.methods import quantized_loading

    quantized_loading.prepare()


def drawn(bits: int, shuffled: bool) -> dict[str, torch.Tensor]:
    """Codes, zero points and scales, all values possible."""
    torch.manual_seed(bits)
    words = torch.iinfo(torch.int32)
    groups = INPUTS // GROUP
    held = {
        "qweight": torch.randint(words.min, words.max, (INPUTS * bits // 32, OUTPUTS), dtype=torch.int32),
        "qzeros": torch.randint(words.min, words.max, (groups, OUTPUTS * bits // 32), dtype=torch.int32),
        "scales": torch.rand(groups, OUTPUTS).half(),
        "g_idx": (torch.arange(INPUTS) // GROUP).int(),
    }
    return held | ({"g_idx": held["g_idx"][torch.randperm(INPUTS)]} if shuffled else {})


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq(bits, shuffled):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    held = drawn(bits, shuffled)
    layer = TorchLinear(
        bits=bits, group_size=GROUP, desc_act=shuffled, sym=False, in_features=INPUTS, out_features=OUTPUTS, bias=False,
        pack_dtype=torch.int32, register_buffers=True,
    )  # fmt: skip
    for name, values in held.items():
        getattr(layer, name).copy_(values)
    layer.qzero_format(format=2)
    expected = layer.dequantize_weight().float().T
    assert weight_of(held, "gptq", bits, "gptq_v2") == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_a_format_of_before_keeps_zero_points_less_one():
    held = {key: value for key, value in drawn(4, False).items() if key != "g_idx"}
    zeros = held["qzeros"].clone()
    held["qzeros"] = torch.full_like(zeros, 0x77777777)
    older = weight_of(held, "gptq", 4)
    held["qzeros"] = torch.full_like(zeros, -0x77777778)  # 8 in each place
    assert torch.equal(older, weight_of(held, "gptq", 4, "gptq_v2"))


def test_awq():
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    torch.manual_seed(0)
    words = torch.iinfo(torch.int32)
    held = {
        "qweight": torch.randint(words.min, words.max, (INPUTS, OUTPUTS // 8), dtype=torch.int32),
        "qzeros": torch.randint(words.min, words.max, (INPUTS // GROUP, OUTPUTS // 8), dtype=torch.int32),
        "scales": torch.rand(INPUTS // GROUP, OUTPUTS),
    }
    expected = dequantize_gemm(held["qweight"], held["qzeros"], held["scales"], 4, GROUP).T
    assert torch.equal(weight_of(held, "awq", 4), expected)
