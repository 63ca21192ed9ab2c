"""What a model is made of: its parameters, and which of them methods quantize."""

import math
from dataclasses import dataclass
from typing import Literal

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

Kind = Literal["linear", "experts", "wide"]


@dataclass(frozen=True)
class Weight:
    """One parameter. `linear`: the matrix `[outputs, inputs]` of a linear layer that methods quantize; `experts`: a
    stack of such, `[experts, outputs, inputs]`; `wide`: what every method leaves as it is.

    `nbytes` is what it takes un-quantized, in the type that it has then.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """All parameters, shared ones once, and the bytes of what is computed from the settings (masks, frequencies)."""

    weights: tuple[Weight, ...]
    buffer_bytes: int = 0

    @property
    def experts(self) -> int:
        """Weights that lie in stacks of experts."""
        return sum(math.prod(weight.shape) for weight in self.weights if weight.kind == "experts")
