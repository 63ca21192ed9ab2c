"""What round-to-nearest makes of a matrix, laid open (see `methods.rounded`)."""

from collections.abc import Mapping

from quantlab.methods.rounded import Matrix, Rounded, groups_of, integers
from quantlab.methods.rtn.linear import decoded_scale, dequantize, pack, quantize


def grid(matrix: Matrix, bits: int, group_size: int, symmetric: bool, parts: Mapping[str, int]) -> Rounded:
    """As `RtnLinear` holds it: the codes are packed and unpacked as there."""
    weight = matrix.asked
    rows, columns = weight.shape
    codes, stored, zero = quantize(weight, bits, group_size, symmetric)
    scale = decoded_scale(stored)
    values = dequantize(pack(codes, bits), scale, zero, bits, group_size, weight.dtype)[:, :columns]
    middle = None if zero is not None else 2 ** (bits - 1)
    return Rounded(
        codes[:, :columns].long(),
        values,
        integers(0, 2**bits - 1) if middle is None else integers(-middle, middle - 1),
        0,
        groups_of(rows, columns, group_size),
        scale.flatten(),
        parts,
        None if zero is None else zero.flatten().float(),
        note="A scale of 16 bits for each group of a row"
        + (", and a zero point of 8." if middle is None else f". Code {middle} stands for zero."),
    )
