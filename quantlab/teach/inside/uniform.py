"""Plain integers: evenly spaced levels, one scale for a block, a row or the whole matrix."""

from dataclasses import dataclass

import torch

from quantlab.methods.rounded import Matrix, Rounded, groups_of, integers


@dataclass(frozen=True)
class Uniform:
    """`block`: numbers that share a scale, None for a whole row, 0 for the whole matrix."""

    bits: int
    block: int | None
    zero_point: bool = False


def rounded(matrix: Matrix, grid: Uniform) -> Rounded:
    """Without a zero point the largest magnitude becomes the highest code (absmax): codes from -(2^(bits-1) - 1) to
    2^(bits-1) - 1, and 0 is 0. With one, the codes 0 to 2^bits - 1 go from the least number to the largest, 0 among
    them. Jacob et al. 2018, arXiv:1712.05877, eq. 1. A block of zeros has scale 0 and no error.
    """
    group, groups, low, high = _ranges(matrix, grid)
    rows, columns = matrix.shape
    top = 2**grid.bits - 1 if grid.zero_point else 2 ** (grid.bits - 1) - 1
    if grid.zero_point:
        scale = (high - low) / top
        zero = torch.where(scale > 0, (low / scale).round().abs(), 0).clamp(0, top)
        lowest = 0
    else:
        scale, zero, lowest = torch.maximum(high, -low) / top, torch.zeros_like(low), -top
    step = scale[group]
    codes = torch.where(step > 0, (matrix.asked / step).round(), 0) + zero[group]
    codes = codes.clamp(lowest, top)
    parts = {"codes": -(-rows * columns * grid.bits // 8), "scales": 4 * groups}
    return Rounded(
        codes.long(),
        step * (codes - zero[group]),
        integers(lowest, top),
        lowest,
        group,
        scale,
        parts | ({"zero points": groups} if grid.zero_point else {}),
        zero if grid.zero_point else None,
    )


def _ranges(matrix: Matrix, grid: Uniform) -> tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]:
    """The group of each number asked for, how many groups the matrix has, and least and largest number of each group
    asked for, zero among them."""
    rows, columns = matrix.shape
    asked = matrix.asked
    if grid.block == 0:
        low, high = matrix.weight.min().reshape(1), matrix.weight.max().reshape(1)
        return torch.zeros_like(asked, dtype=torch.long), 1, low.clamp(max=0), high.clamp(min=0)
    size = min(grid.block or columns, columns)
    in_row = -(-columns // size)
    padded = torch.nn.functional.pad(asked, (0, in_row * size - columns)).view(-1, size)
    group = groups_of(len(asked), columns, size)
    return group, rows * in_row, padded.amin(-1).clamp(max=0), padded.amax(-1).clamp(min=0)
