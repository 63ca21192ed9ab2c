"""What a method has to offer, and what most of them share."""

import importlib.util
import math
import re
from collections.abc import Mapping
from typing import Protocol

from quantlab.records import Model, Placement, Precision, Progress, TensorInfo
from quantlab.runtime.session import LoadedModel

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
#: Layers that stay as they are in every method: they are looked up or decide the word, and quantize badly.
_NOT_QUANTIZED = re.compile(r"(embed|wte|wpe|lm_head|norm)")


class Method(Protocol):
    """One way to store and multiply weights."""

    name: str
    precisions: tuple[Precision, ...]

    def unavailable(self, device: str) -> str | None:
        """Why it cannot run on the device, in words a user can act on; None where it can. Imports nothing heavy."""
        ...

    def prepare(self) -> None:
        """Import what `load` needs, so that `load_s` times the loading and not Python's imports."""
        ...

    def weight_bytes(self, precision: Precision, rows: int, columns: int) -> int | None:
        """Exact bytes of one quantized layer's weight `[rows, columns]`, scales and codebooks included.

        None where a layer of this size is kept un-quantized.
        """
        ...

    def dtype(self, precision: Precision, placement: Placement) -> str:
        """The type in which the un-quantized parts are kept and products are computed."""
        ...

    def load(self, model: Model, precision: Precision, placement: Placement, progress: Progress) -> LoadedModel:
        """Bring a model into memory at a precision. `placement` is resolved.

        Raises ModelError, Unavailable, OutOfMemory or Stopped (from `progress`).
        """
        ...


def missing_package(package: str) -> bool:
    """Whether an import of the package would fail for want of it, found out without importing it."""
    return importlib.util.find_spec(package) is None


def estimate(method: Method, precision: Precision, placement: Placement, tensors: Mapping[str, TensorInfo]) -> int:
    """`stored_bytes` of a variant before anything is loaded, from the checkpoint's tensor list alone.

    `placement` is resolved. Buffers that a checkpoint does not list (rotary frequencies) are not counted.
    """
    element = DTYPE_BYTES[method.dtype(precision, placement)]
    total = 0
    for name, info in tensors.items():
        quantizable = len(info.shape) == 2 and name.endswith(".weight") and not _NOT_QUANTIZED.search(name)
        quantized = method.weight_bytes(precision, *info.shape) if quantizable else None
        total += math.prod(info.shape) * element if quantized is None else quantized
    return total
