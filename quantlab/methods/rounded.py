"""What a method makes of one matrix, laid open: codes, scales and what they stand for. To be looked at, not to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quantlab.records import Checkpoint

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Matrix:
    """A linear layer's weight `[outputs, inputs]`, float32, and which of its rows are asked for.

    Without a `name` (transformers', `.weight` included) and `checkpoint` these are numbers of no model.
    """

    weight: "torch.Tensor"
    rows: slice = field(default_factory=lambda: slice(None))
    name: str = ""
    checkpoint: Checkpoint | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def asked(self) -> "torch.Tensor":
        return self.weight[self.rows]


@dataclass(frozen=True)
class Rounded:
    """Some rows of a matrix as a method stores them.

    `codes` `[rows, columns]` (int64) and `values` (float32), what they stand for when the layer is computed in float32.
    `group` `[rows, columns]` says which of the `scale`s `[groups]` (float32) a weight has, and which `zero` (in codes)
    and `minimum`, where it has them. A code stands for `scale * (table[code - first] - zero) + minimum`: uniform
    affine quantization (Jacob et al. 2018, arXiv:1712.05877, eq. 1), with `table` for codes that are no plain integers
    (the levels of nf4). `parts` are the bytes of the whole matrix, the first those of its codes. `note` says what its
    scales are; `caution` that it is something else than its name says.
    """

    codes: "torch.Tensor"
    values: "torch.Tensor"
    table: "torch.Tensor"
    first: int
    group: "torch.Tensor"
    scale: "torch.Tensor"
    parts: Mapping[str, int]
    zero: "torch.Tensor | None" = None
    minimum: "torch.Tensor | None" = None
    note: str = ""
    caution: str = ""

    def levels(self, group: int) -> "torch.Tensor":
        """What each code stands for in one group, float32 `[codes]`."""
        zero = 0 if self.zero is None else self.zero[group]
        found = self.scale[group] * (self.table - zero)
        return found if self.minimum is None else found + self.minimum[group]


def integers(first: int, last: int) -> "torch.Tensor":
    """The table of plain integers, float32."""
    import torch

    return torch.arange(first, last + 1, dtype=torch.float32)


def groups_of(rows: int, columns: int, size: int) -> "torch.Tensor":
    """The group of each weight `[rows, columns]`, where groups of `size` begin anew in each row."""
    import torch

    in_row = torch.arange(columns) // size
    return torch.arange(rows).unsqueeze(1) * -(-columns // size) + in_row
