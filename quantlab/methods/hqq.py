"""HQQ: scales and zero points fitted to the weights alone, by half-quadratic splitting, without calibration.

Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models". Layers are made by the package's
own API: transformers loads no HQQ checkpoint, and the format is the package's own, so nothing is written to disk.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from quantlab.errors import BadInput
from quantlab.methods.base import missing_package
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.methods.transformers_method import TransformersMethod
from quantlab.methods.weights import DTYPE_BYTES
from quantlab.models.quiet import NO_OUTPUT, NO_WARNINGS
from quantlab.records import Checkpoint, Model, Precision, Progress, ResolvedPlacement
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    import torch

GROUP_SIZE = 64
_NAMES = {4: "four", 3: "three", 2: "two", 1: "one"}
#: Groups that share one packed element: as many codes as fit into a byte; for 3 bits ten in 32 bits.
_PER_ELEMENT = {4: 2, 3: 10, 2: 4, 1: 8}


@dataclass(frozen=True)
class HqqPrecision(Precision):
    """`weight_bits` are those of one code."""

    weight_bits: int


def _precision(bits: int) -> HqqPrecision:
    stored = 3.2 if bits == 3 else bits  # ten codes of 3 bits take 32
    summary = f"{_NAMES[bits]} bit{'s' if bits > 1 else ''}, fitted without calibration"
    return HqqPrecision(f"hqq-{bits}", "hqq", stored + 2 * 16 / GROUP_SIZE, summary, bits)


class Hqq(TransformersMethod[HqqPrecision]):
    """hqq-4, hqq-3, hqq-2 and hqq-1."""

    name = "hqq"
    title = "HQQ"
    takes_adapters = True
    rounds_slowly = True
    packages = ("hqq",)
    precisions = tuple(_precision(bits) for bits in (4, 3, 2, 1))

    def unavailable(self, device: str) -> str | None:
        return "needs the package hqq: pip install hqq" if missing_package("hqq") else None

    def prepare(self) -> None:
        super().prepare()
        with _quiet():
            import_module("hqq.core.quantize")

    def weight_bytes(self, precision: HqqPrecision, rows: int, columns: int) -> int | None:
        """Of the codes alone: scales and zero points have the type of the products, and `parts` adds them."""
        if not _fits(rows, columns, precision.weight_bits):
            return None
        groups = rows * columns // GROUP_SIZE
        elements = -(-groups // _PER_ELEMENT[precision.weight_bits]) * GROUP_SIZE
        return elements * (4 if precision.weight_bits == 3 else 1)

    def code_bytes(self, precision: HqqPrecision, rows: int, columns: int) -> int | None:
        return self.weight_bytes(precision, rows, columns)

    def parts(self, precision: HqqPrecision, placement: ResolvedPlacement, checkpoint: Checkpoint) -> Mapping[str, int]:
        layers = (it.shape for it in self.layout(precision, placement, checkpoint).weights if it.kind == "linear")
        quantized = sum(rows * columns for rows, columns in layers if _fits(rows, columns, precision.weight_bits))
        scales = 2 * DTYPE_BYTES[self.dtype(precision, placement)] * quantized // GROUP_SIZE
        return {**super().parts(precision, placement, checkpoint), "quantization": scales}

    def grids(self) -> tuple[HqqPrecision, ...]:
        return self.precisions

    def rounded(self, precision: HqqPrecision, matrix: Matrix) -> Rounded:
        bits, (rows, columns) = precision.weight_bits, matrix.shape
        codes = self.weight_bytes(precision, rows, columns)
        if codes is None:
            raise BadInput(
                f"A matrix of {rows:,} x {columns:,} does not pack into groups of {GROUP_SIZE}.",
                "Choose another method.",
            )
        with _quiet():
            from quantlab.methods.hqq_grid import grid

            beside = 4 * (rows * columns // GROUP_SIZE)  # each, in float32
            return grid(matrix, bits, GROUP_SIZE, {"codes": codes, "scales": beside, "zero points": beside})

    def load(
        self, model: Model, precision: HqqPrecision, placement: ResolvedPlacement, progress: Progress
    ) -> LoadedModel:
        import torch

        from quantlab.methods import transformers_loading as loading
        from quantlab.methods.skeleton import as_plain_linear, linear_layers

        dtype = placement.compute_dtype
        network = as_plain_linear(loading.load(model, placement, dtype, progress))
        kept = []
        with _quiet():
            from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

            layers = list(linear_layers(network))
            for done, (name, rows, columns) in enumerate(layers):
                progress(done, len(layers), f"fitting {name}")
                if not _fits(rows, columns, precision.weight_bits):
                    kept.append(name)
                    continue
                linear = _as_linear(network.get_submodule(name))
                config = BaseQuantizeConfig(nbits=precision.weight_bits, group_size=GROUP_SIZE, axis=1)
                device = str(linear.weight.device)
                quantized = HQQLinear(linear, config, compute_dtype=getattr(torch, dtype), device=device)
                network.set_submodule(name, quantized)
        notes = [f"kept un-quantized, because its sizes do not pack: {', '.join(kept)}"] if kept else []
        return loading.finish(network, placement, dtype, "HQQ dequantize + torch matmul", notes)


def _fits(rows: int, columns: int, bits: int) -> bool:
    """Whether the package can pack a weight of this size: whole groups, and as many of them as share a byte."""
    groups, rest = divmod(rows * columns, GROUP_SIZE)
    return rest == 0 and (bits == 3 or groups % _PER_ELEMENT[bits] == 0)


def _as_linear(layer: "torch.nn.Module") -> "torch.nn.Linear":
    """The layer itself, or GPT-2's kind of it, whose weight lies the other way round, as an ordinary one."""
    import torch

    if isinstance(layer, torch.nn.Linear):
        return layer
    inputs, outputs = layer.weight.shape
    linear = torch.nn.Linear(inputs, outputs, device="meta")
    linear.weight = torch.nn.Parameter(layer.weight.T.contiguous(), requires_grad=False)
    linear.bias = layer.bias
    return linear


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package's notes on optional back ends from the terminal."""
    with NO_OUTPUT, NO_WARNINGS:
        yield


HQQ = Hqq()
