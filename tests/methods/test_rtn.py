"""Round to nearest: its arithmetic against a plain one in numpy, its packing, and the layers that live on it."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantlab.methods import METHODS, PRECISIONS
from quantlab.methods.rtn import rtn_precision
from quantlab.methods.rtn.layout import packed_columns
from quantlab.methods.rtn.linear import RtnLinear, decoded_scale, pack, quantize, stored, unpack
from quantlab.records import Placement
from tests import tiny
from tests.loading import load

BITS = (8, 4, 3, 2)
GROUP = 64
EITHER = pytest.mark.parametrize("symmetric", [False, True], ids=["zero-point", "symmetric"])
ALL_BITS = pytest.mark.parametrize("bits", BITS)
#: Heavy-tailed weights with whole groups of zeros, of one sign, and of values that float16 hardly holds.
SHAPE = (6, 4 * GROUP)


def weights(seed: int = 0, shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) ** 3
    if shape == SHAPE:
        made[0, :GROUP] = 0
        made[1, :GROUP] = made[1, :GROUP].abs() + 1
        made[2, :GROUP] = -made[2, :GROUP].abs() - 1
        made[3, :GROUP] *= 1e-7
        made[4, ::7] = 0
    return made


def layer(weight: torch.Tensor, bits: int, symmetric: bool, group_size: int = GROUP) -> RtnLinear:
    """The layer that a load makes of a weight."""
    made = RtnLinear(weight.shape[1], weight.shape[0], False, bits, group_size, symmetric)
    codes, scale, zero_point = quantize(weight, bits, group_size, symmetric)
    made.weight = torch.nn.Parameter(pack(codes, bits), requires_grad=False)
    made.scale, made.zero_point = scale, zero_point
    return made


def plain(weight: numpy.ndarray, bits: int, symmetric: bool, group_size: int = GROUP) -> numpy.ndarray:
    """The same by the textbook, one group after the other: codes for a range of 2**bits steps, and back again."""
    result = numpy.zeros_like(weight)
    top = 2**bits - 1
    for row in range(weight.shape[0]):
        for first in range(0, weight.shape[1], group_size):
            group = weight[row, first : first + group_size]
            low, high = min(group.min(), 0.0), max(group.max(), 0.0)
            span = max(-low, high) if symmetric else high - low
            steps = 2 ** (bits - 1) - 1 if symmetric else top
            scale = plain_scale(numpy.float32(span / steps))
            zero = 2 ** (bits - 1) if symmetric else int(numpy.clip(numpy.rint(-low / scale), 0, top))
            for i, value in enumerate(group):
                code = int(numpy.clip(numpy.rint(value / scale) + zero, 0, top))
                result[row, first + i] = numpy.float32(code - zero) * scale
    return result


def plain_scale(wanted: numpy.float32) -> numpy.float32:
    """As float16 holds it, the smallest ones in units of 2**-18 and the largest in units of 2**16."""
    unit = numpy.float32(2.0**-18 if 0 < wanted < 2.0**-18 else 2.0**16 if wanted > 65_504 else 1)
    wanted = max(wanted / unit, numpy.float32(2.0**-24))
    scale = numpy.float32(numpy.float16(wanted))
    if scale < wanted < 2.0**-14:
        scale += numpy.float32(2.0**-24)
    return scale * unit


@given(
    bits=st.sampled_from(BITS),
    codes=st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
        lambda size: arrays(numpy.uint8, (size[0], 8 * size[1]))
    ),
)
@settings(deadline=None, max_examples=150)
def test_unpack_gives_back_what_was_packed_in_exactly_its_bits(bits, codes):
    codes = torch.from_numpy(codes) & (2**bits - 1)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.nbytes == codes.numel() * bits / 8
    assert torch.equal(unpack(packed, bits), codes)


@EITHER
@ALL_BITS
def test_a_plain_implementation_gives_the_same_weights(bits, symmetric):
    weight = weights()
    expected = torch.from_numpy(plain(weight.numpy(), bits, symmetric))
    torch.testing.assert_close(layer(weight, bits, symmetric).dequantize(torch.float32), expected, rtol=0, atol=0)


@given(
    bits=st.sampled_from(BITS),
    symmetric=st.booleans(),
    weight=arrays(
        numpy.float32, (2, GROUP), elements=st.floats(-1000, 1000, width=32, allow_subnormal=False), fill=st.nothing()
    ),
)
@settings(deadline=None, max_examples=150)
def test_no_weight_is_off_by_more_than_half_a_step(bits, symmetric, weight):
    weight = torch.from_numpy(weight)
    codes, scale, _ = quantize(weight, bits, GROUP, symmetric)
    assert int(codes.max()) < 2**bits
    error = (layer(weight, bits, symmetric).dequantize(torch.float32) - weight).abs()
    # The scale is a float16: at the ends of the range its rounding adds up over all the steps.
    steps = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    assert (error <= decoded_scale(scale) * (0.5 + steps * 2**-11 + 1e-4)).all()


@EITHER
@ALL_BITS
def test_zero_stays_exactly_zero(bits, symmetric):
    weight = weights()
    rounded = layer(weight, bits, symmetric).dequantize(torch.float32)
    assert (weight == 0).sum() > GROUP
    assert (rounded[weight == 0] == 0).all()


@ALL_BITS
def test_symmetric_has_no_zero_point_and_mirrors(bits):
    weight = weights(1, (4, GROUP))
    codes, _, zero_point = quantize(weight, bits, GROUP, symmetric=True)
    assert zero_point is None
    assert codes.min() >= 1, "as many codes below zero as above"
    one, other = (layer(sign * weight, bits, True).dequantize(torch.float32) for sign in (1, -1))
    assert torch.equal(one, -other)


@EITHER
@ALL_BITS
def test_inputs_that_fill_no_whole_group_are_padded_and_the_padding_never_shows(bits, symmetric):
    weight = weights(2, (5, 100))
    made = layer(weight, bits, symmetric)
    assert made.weight.shape == (5, packed_columns(100, bits, GROUP)) == (5, 128 * bits // 8)
    assert made.scale.shape == (5, 2)
    rounded = made.dequantize(torch.float32)
    assert rounded.shape == weight.shape
    torch.testing.assert_close(rounded, torch.from_numpy(plain(weight.numpy(), bits, symmetric)), rtol=0, atol=0)
    x = torch.randn(3, 100)
    torch.testing.assert_close(made(x), x @ rounded.T)


@EITHER
@ALL_BITS
@pytest.mark.parametrize("columns", [64, 100, 256])
def test_the_planned_bytes_are_those_of_the_layer(bits, symmetric, columns):
    chosen = PRECISIONS[f"rtn-{bits}" + "-sym" * symmetric]
    made = layer(weights(3, (32, columns)), bits, symmetric)
    there = made.weight.nbytes + sum(buffer.nbytes for buffer in made.buffers())
    assert METHODS["rtn"].weight_bytes(chosen, 32, columns) == there
    if columns % GROUP == 0:
        assert 8 * there / (32 * columns) == chosen.bits


def test_the_size_of_the_groups_is_an_option_with_a_name_of_its_own():
    chosen = rtn_precision(4, group_size=128)
    assert (chosen.name, chosen.bits) == ("rtn-4-g128", 4 + 24 / 128)
    weight = weights(4, (4, 256))
    small, large = (layer(weight, 4, False, size).dequantize(torch.float32) for size in (32, 128))
    assert torch.equal(large, torch.from_numpy(plain(weight.numpy(), 4, False, 128)))
    assert (small - weight).square().mean() < (large - weight).square().mean(), "smaller groups fit better"


@EITHER
@ALL_BITS
def test_a_load_keeps_what_the_arithmetic_says(llama, bits, symmetric):
    dense = load(llama, "fp32")
    weight = dense.module.get_submodule("model.layers.1.mlp.down_proj").weight.clone()
    dense.close()
    loaded = load(llama, f"rtn-{bits}" + "-sym" * symmetric)
    made = loaded.module.get_submodule("model.layers.1.mlp.down_proj")
    expected = torch.from_numpy(plain(weight.numpy(), bits, symmetric))
    # Weights arrive in the compute dtype, which rounds them to 16 bits on some processors.
    exact = loaded.facts.compute_dtype == "float32"
    torch.testing.assert_close(
        made.dequantize(torch.float32), expected, rtol=0, atol=0 if exact else weight.abs().max()
    )
    assert type(loaded.module.lm_head) is torch.nn.Linear, "the output head stays as it is"
    loaded.close()


def test_gpt2_whose_weights_lie_the_other_way_round(tmp_path):
    model = tiny.write(tmp_path, "gpt2")
    placement = Placement("cpu", "float32")
    dense, rounded, coarse = (load(model, name, placement=placement) for name in ("fp32", "rtn-8", "rtn-2"))
    conv = dense.module.get_submodule("transformer.h.0.mlp.c_fc")
    made = rounded.module.get_submodule("transformer.h.0.mlp.c_fc")
    assert (made.out_features, made.in_features) == tuple(conv.weight.shape[::-1]) == (256, 64)
    torch.testing.assert_close(made.dequantize(torch.float32), conv.weight.T, rtol=0, atol=0.02)
    torch.testing.assert_close(made.bias, conv.bias, rtol=0.01, atol=0.01)
    kld = [divergence(dense, other) for other in (rounded, coarse)]
    assert kld[0] < 0.02 < kld[1]
    for loaded in (dense, rounded, coarse):
        loaded.close()


def divergence(reference, other) -> float:
    ids = [1, *range(40, 70)]
    p, q = (torch.cat(list(loaded.start().score(ids))).double() for loaded in (reference, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("factor", "loss"),
    [(1 / 40, 1.05), (1 / 400, 1.1), (2e-4, 1.01), (1e-6, 1.01), (1e-8, 1.1), (1e8, 1.01), (1e10, 1.01)],
)
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_of_any_size_are_rounded_nearly_as_well(bits, factor, loss, symmetric):
    """Small scales had few digits or none in float16, and those above its largest number were infinite."""
    weight = weights(5, (32, 256)) * 0.02
    usual, other = (layer(it, bits, symmetric).dequantize(torch.float32) for it in (weight, weight * factor))
    error = (usual - weight).norm() / weight.norm()
    assert (other - weight * factor).norm() / (weight * factor).norm() < loss * error


def test_a_scale_takes_two_bytes_whatever_its_size_and_ordinary_ones_stand_for_themselves():
    scale = torch.cat([torch.zeros(1), 2.0 ** torch.arange(-36, 32, 0.37), torch.tensor([65_504.0, 65_530.0, 4e9])])
    kept = stored(scale)
    assert kept.dtype == torch.float16
    ordinary = (scale == 0) | ((scale >= 2.0**-18) & (scale <= 65_504))
    assert torch.equal(kept[ordinary].abs(), kept[ordinary]) and (kept[~ordinary] < 0).all()
    torch.testing.assert_close(decoded_scale(kept)[1:], scale[1:], rtol=2**-6, atol=0)
    usual = ordinary & (scale >= 2.0**-14)
    assert torch.equal(kept[usual], scale[usual].half())


def test_weights_that_are_no_numbers_do_not_become_some():
    for bad in (float("nan"), float("inf")):
        weight = weights(6, (2, GROUP))
        weight[0, 3] = bad
        rounded = layer(weight, 8, False).dequantize(torch.float32)
        assert not rounded[0].isfinite().all() and rounded[1].isfinite().all()
