"""What torchao makes of a matrix, laid open (see `methods.rounded`): its own tensors, or for the 4 bits, whose tensors
lie on NVIDIA GPUs alone, the functions that fill them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from quantlab.methods.rounded import Matrix, Rounded, groups_of, integers

if TYPE_CHECKING:
    from torchao.core.config import AOBaseConfig

#: The largest of float8 e4m3 by its bits: the one above is no number.
_LARGEST = 0x7E
_HIGHEST_INT4, _MIDDLE_INT4 = 15, 8


def int8(matrix: Matrix, config: "AOBaseConfig", parts: Mapping[str, int]) -> Rounded:
    """A row's largest magnitude sets its scale; codes -128 to 127."""
    held = _quantized(matrix.asked, config)
    return Rounded(
        held.qdata.long(),
        held.dequantize(),
        integers(-128, 127),
        -128,
        groups_of(len(held), held.shape[1], held.shape[1]),
        held.scale.flatten(),
        parts,
        note="One scale for a row, and a zero point that is always 0.",
    )


def float8(matrix: Matrix, config: "AOBaseConfig", parts: Mapping[str, int]) -> Rounded:
    """e4m3: a sign, 4 bits of exponent, 3 of mantissa. A code is the number's place among all, counted from 0 up and
    down: its seven lower bits, with the sign."""
    held = _quantized(matrix.asked, config)
    bits = held.qdata.view(torch.uint8).long()
    magnitude = torch.arange(_LARGEST + 1, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    return Rounded(
        torch.where(bits > 0x7F, -(bits & 0x7F), bits),
        held.dequantize(),
        torch.cat((-magnitude[1:].flip(0), magnitude)),
        -_LARGEST,
        groups_of(len(held), held.shape[1], held.shape[1]),
        held.scale.flatten(),
        parts,
        note="Floating point: levels are close near 0 and far apart away from it. One scale for a row.",
    )


def int4(matrix: Matrix, size: int, parts: Mapping[str, int]) -> Rounded:
    """tinygemm: the weights rounded to bfloat16, in groups of a row; a group's scale and middle are bfloat16 too, and
    so are the values, as its kernel multiplies them."""
    from torchao.quantization import quant_primitives as torchao

    weight, block = matrix.asked.bfloat16(), (1, size)
    limits = {"quant_min": 0, "quant_max": _HIGHEST_INT4}
    scale, middle = torchao._choose_qparams_affine_tinygemm(
        weight,
        mapping_type=torchao.MappingType.ASYMMETRIC,
        block_size=block,
        target_dtype=torch.int32,
        scale_dtype=torch.bfloat16,
        zero_point_dtype=torch.bfloat16,
        **limits,
    )
    codes = torchao._quantize_affine_tinygemm(weight, block, scale, middle, torch.int32, **limits)
    group = groups_of(len(weight), weight.shape[1], size)
    flat, least = scale.flatten().float(), middle.flatten().float()
    # The kernel multiplies and adds with one rounding to bfloat16.
    values = ((codes - _MIDDLE_INT4) * flat[group] + least[group]).bfloat16()
    return Rounded(
        codes.long(),
        values.float(),
        integers(0, _HIGHEST_INT4),
        0,
        group,
        flat,
        parts,
        torch.full_like(flat, _MIDDLE_INT4),
        least,
        note=f"For each group of a row a scale, and as minimum what code {_MIDDLE_INT4} stands for, both in bfloat16.",
    )


def _quantized(weight: torch.Tensor, config: "AOBaseConfig") -> Any:
    """The tensor that torchao puts in the place of a layer's weight."""
    from torchao.quantization import quantize_

    rows, columns = weight.shape
    layer = torch.nn.Linear(columns, rows, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    quantize_(layer, config)
    return layer.weight
