"""What AWQ makes of a matrix, laid open (see `methods.rounded`): the packed codes of a checkpoint, and the factors that
lie between them and the original.

AWQ multiplies columns before it rounds, and takes that back in what stands before the layer: in a norm, or in the rows
of the layer before. A checkpoint holds the product alone, so the factors are found by least squares.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from quantlab.methods.gptq.grid import kept as kept_as_stored
from quantlab.methods.gptq.packed import factors
from quantlab.methods.rounded import Matrix, Rounded

NOTE = (
    " Columns were multiplied before they were rounded, and what stands before the layer takes it back: the levels are "
    "shown divided by these factors (found by least squares), so that each column has its own."
)


def kept(matrix: Matrix, bits: int, folder: Path, parts: Mapping[str, int]) -> Rounded | None:
    """The rows asked for as `folder` holds them, as numbers of the original; None where this layer was left wide.

    A code stands for its level in the checkpoint over the factors of its row and column. Raises ModelError.
    """
    whole = kept_as_stored(replace(matrix, rows=slice(None)), "awq", bits, folder, parts)
    if whole is None:
        return None
    columns, rows = factors(matrix.weight, whole.values)
    ones = torch.ones(())
    # A row or column of zeros has no factor.
    factor = torch.where(rows * columns != 0, rows * columns, ones)[matrix.rows]
    codes, group, zeros = whole.codes[matrix.rows], whole.group[matrix.rows], whole.zero
    assert zeros is not None  # the format has them
    scale, zero = whole.scale[group] / factor, zeros[group]
    return replace(
        whole,
        codes=codes,
        values=scale * (codes - zero),
        group=torch.arange(factor.numel()).view_as(factor),
        scale=scale.flatten(),
        zero=zero.flatten(),
        note=whole.note + NOTE,
    )
