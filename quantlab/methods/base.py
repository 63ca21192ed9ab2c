"""What a method has to offer, and what most of them share."""

import importlib.util
import math
import re
from collections.abc import Mapping
from pathlib import Path

from quantlab.errors import Unavailable
from quantlab.records import Checkpoint, LoadOrigin, Model, Placement, Precision, Progress, TensorInfo, Variant
from quantlab.runtime.session import LoadedModel

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
#: Layers that stay as they are in every method of transformers: they are looked up or decide the word.
_NOT_QUANTIZED = re.compile(r"(embed|wte|wpe|lm_head|norm)")


class Method:
    """One way to store and multiply weights. Subclasses fill in what differs; nothing heavy is imported by a module.

    Most methods quantize while they load. One that is `kept` writes a checkpoint first (`build`), which stays on disk
    for the next time, and its `load` is given that checkpoint as the model.
    """

    name: str
    #: The heading of its group in a list of precisions.
    title: str
    precisions: tuple[Precision, ...]
    #: The packages whose versions decide what `build` writes.
    packages: tuple[str, ...] = ("transformers",)
    kept: bool = False
    #: Where its weights come from when nothing is kept: quantized by the load itself, or read as they lie on disk.
    origin: LoadOrigin = "built"

    def parse(self, name: str) -> Precision | None:
        """The precision of that name, options in the name included; None where the name is not one of this method's.

        Raises BadInput for an option with an impossible value.
        """
        return next((precision for precision in self.precisions if precision.name == name), None)

    def calibrated(self, precision: Precision) -> bool:
        """Whether `build` reads a calibration text."""
        return False

    def unavailable(self, device: str) -> str | None:
        """Why it cannot run on the device, in words that go on from "it ..." and end in what to do; None where it can.

        Imports nothing heavy.
        """
        return None

    def refuses(self, precision: Precision, checkpoint: Checkpoint, device: str) -> str | None:
        """Why this model cannot be had at this precision here, in words as above; None where it can.

        Known before anything loads: weights quantized already, sizes or an architecture that it does not take.
        """
        return already_quantized(checkpoint)

    def prepare(self) -> None:
        """Import what `load` needs, so that `load_s` times the loading and not Python's imports."""
        from quantlab.methods import transformers_loading

        transformers_loading.prepare()

    def weight_bytes(self, precision: Precision, rows: int, columns: int) -> int | None:
        """Exact bytes of one quantized layer's weight `[rows, columns]`, scales and codebooks included.

        None where a layer of this size is kept un-quantized.
        """
        raise NotImplementedError

    def dtype(self, precision: Precision, placement: Placement) -> str:
        """The type in which the un-quantized parts are kept and products are computed. `placement` is resolved."""
        return placement.compute_dtype

    def estimate(self, precision: Precision, placement: Placement, checkpoint: Checkpoint) -> int:
        """`stored_bytes` before anything is loaded. `placement` is resolved.

        Buffers that a checkpoint does not list (rotary frequencies) are not counted.
        """
        return estimate(self, precision, placement, checkpoint.tensors)

    def build(self, variant: Variant, folder: Path, progress: Progress) -> None:
        """Write the variant into an empty folder, as an ordinary checkpoint that other programs load.

        `variant.placement` is resolved. Raises Unavailable where the method has no such form, ModelError, OutOfMemory,
        BadInput (for its calibration text) or Stopped (from `progress`).
        """
        raise Unavailable(f"{variant.precision.name} has no checkpoint of its own that other programs could read.")

    def load(self, model: Model, precision: Precision, placement: Placement, progress: Progress) -> LoadedModel:
        """Bring a model into memory at a precision. `placement` is resolved; `model` is what `build` wrote, if kept.

        Raises ModelError, Unavailable, OutOfMemory or Stopped (from `progress`).
        """
        raise NotImplementedError


def missing_package(package: str) -> bool:
    """Whether an import of the package would fail for want of it, found out without importing it."""
    return importlib.util.find_spec(package) is None


def already_quantized(checkpoint: Checkpoint) -> str | None:
    """The refusal of every method that quantizes: what is quantized already cannot be quantized again."""
    if checkpoint.stored_as is None:
        return None
    return f"needs the original weights, and these are quantized already ({checkpoint.stored_as}): choose stored"


def estimate(method: Method, precision: Precision, placement: Placement, tensors: Mapping[str, TensorInfo]) -> int:
    """Bytes of a checkpoint's tensors with `weight_bytes` for the layers that transformers' quantizers replace."""
    element = DTYPE_BYTES[method.dtype(precision, placement)]
    total = 0
    for name, info in tensors.items():
        quantized = method.weight_bytes(precision, *info.shape) if quantizable(name, info) else None
        total += math.prod(info.shape) * element if quantized is None else quantized
    return total


def quantizable(name: str, info: TensorInfo) -> bool:
    """Whether transformers' quantizers replace the layer of this tensor: a matrix, and no embedding or output head."""
    return len(info.shape) == 2 and name.endswith(".weight") and not _NOT_QUANTIZED.search(name)
