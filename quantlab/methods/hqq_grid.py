"""What HQQ makes of a matrix, laid open (see `methods.rounded`): the package's own layer."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from quantlab.methods.rounded import Matrix, Rounded, integers


class _Same:
    """A tensor as a key: equal to itself alone. It holds it, so that no other one takes its place in memory."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.weight is self.weight

    def __hash__(self) -> int:
        return id(self.weight)


@lru_cache(maxsize=8)
def _fitted(weight: _Same, bits: int, group_size: int) -> Any:
    """The package's layer, packed. Kept, since each row that is looked at takes the whole."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    rows, columns = weight.weight.shape
    linear = torch.nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight.weight, requires_grad=False)
    config = BaseQuantizeConfig(nbits=bits, group_size=group_size, axis=1)
    return HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu")


def grid(matrix: Matrix, bits: int, group_size: int, parts: Mapping[str, int]) -> Rounded:
    """The whole matrix is fitted: how long that goes on hangs on the error of all its groups together."""
    rows, columns = matrix.shape
    layer = _fitted(_Same(matrix.weight), bits, group_size)
    # Codes of 3 bits are packed by tens: what fills up the last ten is cut off.
    codes = layer.unpack(dtype=torch.float32)[: rows * columns // group_size].view(rows, columns)
    # Groups go on from one row to the next where a row is no whole number of them.
    group = (torch.arange(rows * columns) // group_size).view(rows, columns)
    return Rounded(
        codes[matrix.rows].long(),
        layer.dequantize()[matrix.rows],
        integers(0, 2**bits - 1),
        0,
        group[matrix.rows],
        layer.meta["scale"].flatten(),
        parts,
        layer.meta["zero"].flatten(),
        note="Scale and zero point of a group are fitted; they have the type of the products, here float32 (in "
        "bfloat16 they take half as much).",
    )
