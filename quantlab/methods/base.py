"""What a method has to offer, and what most of them share."""

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Generic

from quantlab.errors import Unavailable
from quantlab.methods import adapters
from quantlab.methods.layout import layout
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.methods.weights import Layout, Weight
from quantlab.records import PARTS, Checkpoint, LoadOrigin, Model, Progress, ResolvedPlacement, Variant
from quantlab.records.asked import P
from quantlab.runtime.parts import part_of
from quantlab.runtime.session import LoadedModel


class Method(Generic[P]):
    """One way to store and multiply weights. Subclasses fill in what differs; nothing heavy is imported by a module.

    Most methods quantize while they load. One that is `kept` writes a checkpoint first (`build`), which stays on disk
    for the next time, and its `load` is given that checkpoint as the model.
    """

    name: str
    #: The heading of its group in a list of precisions.
    title: str
    precisions: tuple[P, ...]
    #: The packages whose versions decide what `build` writes.
    packages: tuple[str, ...] = ("transformers",)
    kept: bool = False
    #: Whether its precisions have fewer bits than the original.
    quantizes: bool = True
    #: Whether it quantizes the stacked experts of a mixture too. transformers keeps those as one parameter, which
    #: quantizers that look for linear layers leave as it is.
    quantizes_experts: bool = False
    #: Whether it reads a GGUF file as it is; all others need its weights taken out of it (see `dequantized`).
    reads_gguf: bool = False
    #: The types in which its sessions can keep keys and values (`+kv-TYPE` behind the name), the most bits first.
    kv_caches: tuple[str, ...] = ()
    #: Whether an adapter can lie beside its weights (`+NAME` behind the name).
    takes_adapters: bool = False
    #: Whether its codes hang on more than the matrix itself: then a checkpoint holds others than `rounded` gives.
    reads_more: bool = False
    #: Whether `rounded` takes seconds for a large matrix: then it is asked for what was chosen, and not for all.
    rounds_slowly: bool = False
    #: Where its weights come from when nothing is kept: quantized by the load itself, or read as they lie on disk.
    origin: LoadOrigin = "built"

    def parse(self, name: str) -> P | None:
        """The precision of that name, options in the name included; None where the name is not one of this method's.

        Raises BadInput for an option with an impossible value.
        """
        return next((precision for precision in self.precisions if precision.name == name), None)

    def calibrated(self, precision: P) -> bool:
        """Whether `build` reads a calibration text."""
        return False

    def unavailable(self, device: str) -> str | None:
        """Why it cannot run on the device, in words that go on from "it ..." and end in what to do; None where it can.

        Imports nothing heavy.
        """
        return None

    def refuses(self, precision: P, checkpoint: Checkpoint, device: str) -> str | None:
        """Why this model cannot be had at this precision here, in words as above; None where it can.

        Known before anything loads: weights quantized already, sizes or an architecture that it does not take.
        """
        return already_quantized(checkpoint)

    def prepare(self) -> None:
        """Import what `load` needs, so that `load_s` times the loading and not Python's imports."""

    def weight_bytes(self, precision: P, rows: int, columns: int) -> int | None:
        """Exact bytes of one quantized layer's weight `[rows, columns]`, scales and codebooks included.

        None where a layer of this size is kept un-quantized.
        """
        raise NotImplementedError

    def code_bytes(self, precision: P, rows: int, columns: int) -> int | None:
        """Of `weight_bytes` those that hold the weights' codes; the rest are scales, zero points and codebooks.

        None where the method does not tell them apart.
        """
        return None

    def dtype(self, precision: P, placement: ResolvedPlacement) -> str:
        """The type in which the un-quantized parts are kept and products are computed."""
        return placement.compute_dtype

    def layout(self, precision: P, placement: ResolvedPlacement, checkpoint: Checkpoint) -> Layout:
        """The parameters of a checkpoint in the type that this precision keeps. Raises ModelError."""
        return layout(checkpoint, self.dtype(precision, placement))

    def quantized_bytes(self, precision: P, weight: Weight) -> int | None:
        """What one parameter takes quantized, scales and codebooks included; None where it stays as it is."""
        if weight.kind == "linear":
            return self.weight_bytes(precision, *weight.shape)
        if weight.kind == "experts" and self.quantizes_experts:
            experts, rows, columns = weight.shape
            one = self.weight_bytes(precision, rows, columns)
            return None if one is None else experts * one
        return None

    def parts(self, precision: P, placement: ResolvedPlacement, checkpoint: Checkpoint) -> Mapping[str, int]:
        """`stored_bytes` before anything is loaded, by the names of `records.PARTS`. Raises as `estimate` does."""
        planned = self.layout(precision, placement, checkpoint)
        parts = dict.fromkeys(PARTS, 0) | {"other": planned.buffer_bytes}
        for weight in planned.weights:
            quantized = self.quantized_bytes(precision, weight)
            total = weight.nbytes if quantized is None else quantized
            overhead = 0 if quantized is None else self._overhead(precision, weight, quantized)
            parts[part_of(weight.name)] += total - overhead
            parts["quantization"] += overhead
        for module, nbytes in adapters.nbytes(precision.adapter).items() if precision.adapter else ():
            parts[part_of(module)] += nbytes
        return parts

    def _overhead(self, precision: P, weight: Weight, nbytes: int) -> int:
        """What of a quantized parameter's bytes are no codes."""
        *stack, rows, columns = weight.shape
        codes = self.code_bytes(precision, rows, columns)
        return 0 if codes is None else nbytes - math.prod(stack) * codes

    def estimate(self, precision: P, placement: ResolvedPlacement, checkpoint: Checkpoint) -> int:
        """`stored_bytes` before anything is loaded. Raises ModelError where transformers cannot build the model."""
        return sum(self.parts(precision, placement, checkpoint).values())

    def spreads(self, checkpoint: Checkpoint) -> bool:
        """Whether a variant can lie on several devices, as a device map says; else it lies on the placement's."""
        return True

    def build(self, variant: Variant[P], folder: Path, progress: Progress) -> None:
        """Write the variant into an empty folder, as an ordinary checkpoint that other programs load.

        Raises Unavailable where the method has no such form, ModelError, OutOfMemory, BadInput (for its calibration
        text) or Stopped (from `progress`).
        """
        raise Unavailable(f"{variant.precision.name} has no checkpoint of its own that other programs could read.")

    def grids(self) -> tuple[P, ...]:
        """The precisions whose levels can be laid open (see `rounded`); some of them nobody ticks."""
        return ()

    def rounded(self, precision: P, matrix: Matrix) -> Rounded:
        """Some rows of one weight as this method stores them, with its levels laid open: bit by bit what `load` holds
        where products are computed in float32.

        Raises BadInput, in words for a user, where the matrix cannot have it.
        """
        raise NotImplementedError

    def kept_rounded(self, precision: P, folder: Path, matrix: Matrix) -> Rounded | None:
        """The same as it lies in what `build` wrote, where the method `reads_more`; None for a layer left wide."""
        return None

    def load(self, model: Model, precision: P, placement: ResolvedPlacement, progress: Progress) -> LoadedModel:
        """Bring a model into memory at a precision. `model` is what `build` wrote, if kept.

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
    if checkpoint.file is not None:
        why = checkpoint.unreadable or "transformers cannot read them"
        return f"needs its weights taken out of the file, and {why}: choose stored"
    return f"needs the original weights, and these are quantized already ({checkpoint.stored_as}): choose stored"
