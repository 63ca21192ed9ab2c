"""What bitsandbytes makes of a matrix, laid open (see `methods.rounded`): its own functions quantize and read back."""

from collections.abc import Mapping

import torch

from quantlab.methods.rounded import Matrix, Rounded, groups_of, integers


def int8(matrix: Matrix, threshold: float, parts: Mapping[str, int]) -> Rounded:
    """LLM.int8: the largest magnitude of a row becomes 127. The weights are rounded to float16 first, as at a load."""
    from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant

    weight = matrix.asked.half()
    codes, absmax, _ = int8_vectorwise_quant(weight.clone())
    rows, columns = weight.shape
    note = f"Columns whose activations reach {threshold:g} are multiplied in 16 bits. " if threshold else ""
    return Rounded(
        codes.long(),
        int8_vectorwise_dequant(codes, absmax),
        integers(-127, 127),
        -127,
        groups_of(rows, columns, columns),
        absmax / 127,
        parts,
        note=f"{note}One scale for a row.",
    )


def four_bit(matrix: Matrix, quant_type: str, double: bool, size: int, parts: Mapping[str, int]) -> Rounded:
    """nf4 or fp4: blocks of `size`, row after row without a gap; `double`: their scales are quantized again.

    Then a scale hangs on all others (their mean is taken off first), so the whole matrix is quantized.
    """
    from bitsandbytes.functional import dequantize_4bit, dequantize_blockwise, quantize_4bit

    _, columns = matrix.shape
    apart = not double and columns % size == 0
    weight = matrix.asked if apart else matrix.weight
    packed, state = quantize_4bit(
        weight.contiguous(), blocksize=size, compress_statistics=double, quant_type=quant_type
    )
    count = weight.numel()
    both = packed.flatten()
    codes = torch.stack((both >> 4, both & 15), dim=-1).flatten()[:count].view(weight.shape)
    absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset if double else state.absmax
    group = (torch.arange(count) // size).view(weight.shape)
    kept = slice(None) if apart else matrix.rows
    note = "A block’s scale is its largest magnitude. "
    return Rounded(
        codes[kept].long(),
        dequantize_4bit(packed, state)[kept],
        state.code.float(),
        0,
        group[kept],
        absmax.float(),
        parts,
        note=note + ("The scales are 8-bit codes themselves (double quantization)." if double else ""),
    )
