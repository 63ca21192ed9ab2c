"""torchao: PyTorch's own quantization of weights, by tensors that dequantize themselves in a product."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.errors import BadInput
from quantlab.methods.base import already_quantized, missing_package
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.methods.transformers_method import TransformersMethod
from quantlab.models.quiet import hush
from quantlab.records import Checkpoint, Model, Precision, Progress, ResolvedPlacement, Variant
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    from torchao.core.config import AOBaseConfig
    from transformers import TorchAoConfig

GROUP_SIZE, GROUP_SIZES = 64, (32, 64, 128, 256)
#: The 4-bit kernel (tinygemm) wants sizes that are multiples of these, and torchao pads to them.
OUTPUT_MULTIPLE, INPUT_MULTIPLE = 8, 1_024
#: Architectures whose layers are no `torch.nn.Linear`, which is all that torchao takes.
_NO_LINEAR = ("gpt2", "openai-gpt")


@dataclass(frozen=True)
class TorchAoPrecision(Precision):
    """`kind` is int8, int4 or float8; `group_size` belongs to int4."""

    kind: str
    group_size: int = 0


def _int4(group_size: int = GROUP_SIZE) -> TorchAoPrecision:
    """A group has a scale and a zero point of 16 bits each."""
    name = "ao-int4" + f"-g{group_size}" * (group_size != GROUP_SIZE)
    summary = f"4-bit integers in groups of {group_size}, for NVIDIA GPUs"
    return TorchAoPrecision(name, "torchao", 4 + 2 * 16 / group_size, summary, "int4", group_size)


class TorchAo(TransformersMethod[TorchAoPrecision]):
    """ao-int8, ao-float8 and ao-int4."""

    name = "torchao"
    title = "torchao"
    takes_adapters = True
    packages = ("transformers", "torchao")
    precisions = (
        TorchAoPrecision("ao-int8", name, 8, "8-bit integers, a scale for each row", "int8"),
        TorchAoPrecision("ao-float8", name, 8, "8-bit floating point (e4m3), a scale for each row", "float8"),
        _int4(),
    )

    def parse(self, name: str) -> TorchAoPrecision | None:
        """One of the table, or `ao-int4` with a group size: ao-int4-g128."""
        found = re.fullmatch(r"ao-int4-g(\d+)", name)
        if found is None:
            return super().parse(name)
        if int(found[1]) not in GROUP_SIZES:
            raise BadInput(
                f"{name}: the group size cannot be {found[1]}.", f"Choose {', '.join(map(str, GROUP_SIZES))}."
            )
        return _int4(int(found[1]))

    def unavailable(self, device: str) -> str | None:
        if missing_package("torchao"):
            return "needs the package torchao: pip install torchao"
        return None

    def refuses(self, precision: TorchAoPrecision, checkpoint: Checkpoint, device: str) -> str | None:
        if (reason := already_quantized(checkpoint)) is not None:
            return reason
        if precision.kind == "int4" and not device.startswith("cuda"):
            return "needs an NVIDIA GPU, which alone has a kernel for it: choose ao-int8 or nf4"
        if (kind := checkpoint.config.get("model_type")) in _NO_LINEAR:
            return f"takes linear layers only, and those of {kind} are of another kind: choose int8 or nf4"
        return None

    def weight_bytes(self, precision: TorchAoPrecision, rows: int, columns: int) -> int | None:
        parts = _parts(precision, rows, columns)
        return None if parts is None else sum(parts.values())

    def code_bytes(self, precision: TorchAoPrecision, rows: int, columns: int) -> int:
        return _padded(rows, columns) // 2 if precision.kind == "int4" else rows * columns

    def dtype(self, precision: TorchAoPrecision, placement: ResolvedPlacement) -> str:
        return "bfloat16" if precision.kind == "int4" else placement.compute_dtype

    def load(
        self, model: Model, precision: TorchAoPrecision, placement: ResolvedPlacement, progress: Progress
    ) -> LoadedModel:
        from quantlab.methods import transformers_loading as loading
        from quantlab.methods.skeleton import kept_wide, other_linear_layers, read_directly

        dtype = self.dtype(precision, placement)
        skeleton = loading.skeleton(model)
        others = [*other_linear_layers(skeleton), *read_directly(skeleton)]
        config = _quantization_config(precision, [*kept_wide(skeleton), *others] if others else None)
        network = loading.load(model, placement, dtype, progress, config)
        kernel = {"int8": "Int8Tensor", "float8": "Float8Tensor", "int4": "Int4TilePackedTo4dTensor (tinygemm)"}
        return loading.finish(network, placement, dtype, f"torchao {kernel[precision.kind]}")

    def grids(self) -> tuple[TorchAoPrecision, ...]:
        return self.precisions

    def rounded(self, precision: TorchAoPrecision, matrix: Matrix) -> Rounded:
        hush()
        from quantlab.methods import torchao_grid as grid

        rows, columns = matrix.shape
        parts = _parts(precision, rows, columns)
        if parts is None:
            raise BadInput(
                f"Rows of {columns:,} numbers do not divide into groups of {precision.group_size}.",
                "Choose another method.",
            )
        if precision.kind == "int4":
            return grid.int4(matrix, precision.group_size, parts)
        make = grid.int8 if precision.kind == "int8" else grid.float8
        return make(matrix, _config(precision), parts)

    def build(self, variant: Variant[TorchAoPrecision], folder: Path, progress: Progress) -> None:
        self.save(variant, folder, progress)


def _parts(precision: TorchAoPrecision, rows: int, columns: int) -> dict[str, int] | None:
    """Bytes of one weight by what they hold; None where it stays as it is."""
    if precision.kind == "int8":
        return {"codes": rows * columns, "scales": 4 * rows, "zero points": rows}
    if precision.kind == "float8":
        return {"codes": rows * columns, "scales": 4 * rows}
    if columns % precision.group_size:
        return None
    padded = _padded(rows, columns)
    each = 2 * padded // precision.group_size
    return {"codes": padded // 2, "scales": each, "zero points": each}


def _padded(rows: int, columns: int) -> int:
    """Weights of a layer with those that fill it up for the 4-bit kernel."""
    return -(-rows // OUTPUT_MULTIPLE) * OUTPUT_MULTIPLE * (-(-columns // INPUT_MULTIPLE) * INPUT_MULTIPLE)


def _quantization_config(precision: TorchAoPrecision, kept: list[str] | None) -> "TorchAoConfig":
    """`kept` names modules that stay as they are; None is the library's own choice."""
    from transformers import TorchAoConfig

    return TorchAoConfig(_config(precision), modules_to_not_convert=kept)


def _config(precision: TorchAoPrecision) -> "AOBaseConfig":
    """The precision as torchao names it."""
    from torchao.quantization import Float8WeightOnlyConfig, Int4WeightOnlyConfig, Int8WeightOnlyConfig

    # Its settings for torch's compiler hold for the whole process; nothing is compiled here.
    if precision.kind == "int8":
        return Int8WeightOnlyConfig(set_inductor_config=False)
    if precision.kind == "float8":
        return Float8WeightOnlyConfig(set_inductor_config=False)
    # The other packings need a package of their own.
    return Int4WeightOnlyConfig(
        group_size=precision.group_size, set_inductor_config=False, int4_packing_format="tile_packed_to_4d"
    )


TORCHAO = TorchAo()
