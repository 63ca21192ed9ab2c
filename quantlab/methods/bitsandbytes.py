"""bitsandbytes: 8-bit with outlier decomposition (LLM.int8) and 4-bit data types (QLoRA), on CUDA and CPU."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.methods.base import missing_package
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.methods.transformers_method import TransformersMethod
from quantlab.models.quiet import hush
from quantlab.records import Model, Precision, Progress, ResolvedPlacement, Variant
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

#: Weights that share one absmax in the 4-bit types, and absmax values that share one scale when quantized again.
BLOCK, NESTED_BLOCK = 64, 256
#: bitsandbytes' fused 4-bit kernel, of CPUs with AVX-512 and bfloat16, fails at layers whose outputs or inputs are no
#: multiple of these; its other way takes every size.
OUTPUT_MULTIPLE, INPUT_MULTIPLE = 32, 64
#: Codebook sizes (float32) that come with every layer: 16 values, and 256 plus an offset for quantized absmax.
CODEBOOK, NESTED_CODEBOOK = 16 * 4, 256 * 4 + 4


@dataclass(frozen=True)
class BitsAndBytesPrecision(Precision):
    """`quant_type` is nf4, fp4 or int8. `threshold` is LLM.int8's: activations above it are multiplied in 16 bits."""

    quant_type: str
    double: bool = False
    threshold: float = 0.0


def _four_bit(name: str, quant_type: str, double: bool, summary: str) -> BitsAndBytesPrecision:
    # An absmax per block costs 32 bits, or 8 and a share of its own scale when it is quantized again.
    overhead = (8 + 32 / NESTED_BLOCK) / BLOCK if double else 32 / BLOCK
    return BitsAndBytesPrecision(name, "bitsandbytes", 4 + overhead, summary, quant_type, double)


def _parts(precision: BitsAndBytesPrecision, rows: int, columns: int) -> dict[str, int]:
    """Bytes of one quantized weight by what they hold."""
    count = rows * columns
    if precision.quant_type == "int8":
        return {"codes": count, "scales": 4 * rows}
    blocks = -(-count // BLOCK)
    if not precision.double:
        return {"codes": -(-count // 2), "scales": 4 * blocks, "codebooks": CODEBOOK}
    scales = blocks + 4 * -(-blocks // NESTED_BLOCK)
    return {"codes": -(-count // 2), "scales": scales, "codebooks": CODEBOOK + NESTED_CODEBOOK}


class BitsAndBytes(TransformersMethod[BitsAndBytesPrecision]):
    """int8, int8-plain, nf4, nf4-dq, fp4, fp4-dq."""

    name = "bitsandbytes"
    title = "bitsandbytes"
    packages = ("transformers", "bitsandbytes")
    takes_adapters = True
    precisions = (
        BitsAndBytesPrecision(
            "int8", name, 8, "8-bit integers, outlier columns in 16 bits (LLM.int8)", "int8", threshold=6.0
        ),
        BitsAndBytesPrecision("int8-plain", name, 8, "8-bit integers, outliers included (threshold 0)", "int8"),
        _four_bit("nf4", "nf4", False, "4-bit normal float, made for bell-shaped weights"),
        _four_bit("nf4-dq", "nf4", True, "nf4 with its scales quantized again (double quantization)"),
        _four_bit("fp4", "fp4", False, "4-bit floating point"),
        _four_bit("fp4-dq", "fp4", True, "fp4 with its scales quantized again (double quantization)"),
    )

    def unavailable(self, device: str) -> str | None:
        if missing_package("bitsandbytes"):
            return "needs the package bitsandbytes: pip install bitsandbytes"
        if missing_package("accelerate"):
            return "needs the package accelerate: pip install accelerate"
        return None

    def prepare(self) -> None:
        hush()
        super().prepare()
        import_module("bitsandbytes")

    def weight_bytes(self, precision: BitsAndBytesPrecision, rows: int, columns: int) -> int:
        return sum(_parts(precision, rows, columns).values())

    def code_bytes(self, precision: BitsAndBytesPrecision, rows: int, columns: int) -> int:
        return _parts(precision, rows, columns)["codes"]

    def load(
        self, model: Model, precision: BitsAndBytesPrecision, placement: ResolvedPlacement, progress: Progress
    ) -> LoadedModel:
        from quantlab.methods import transformers_loading as loading
        from quantlab.methods.skeleton import kept_wide, read_directly

        hush()
        # Naming modules replaces the library's own list, so its usual exceptions have to be named too.
        skeleton = loading.skeleton(model)
        kept = list(kept_wide(skeleton)) if read_directly(skeleton) else []
        config = _quantization_config(precision, placement.compute_dtype, kept)
        network = loading.load(model, placement, placement.compute_dtype, progress, config)
        suit_the_kernel(network)
        dtype, kernel = what_runs(precision.quant_type, placement)
        return loading.finish(network, placement, dtype, kernel)

    def grids(self) -> tuple[BitsAndBytesPrecision, ...]:
        return self.precisions

    def rounded(self, precision: BitsAndBytesPrecision, matrix: Matrix) -> Rounded:
        from quantlab.methods import bitsandbytes_grid as grid

        hush()
        # As a whole, and first: of a package that another thread is still importing, its modules can be had already
        # while its kernels for this device are not registered yet.
        import_module("bitsandbytes")
        parts = _parts(precision, *matrix.shape)
        if precision.quant_type == "int8":
            return grid.int8(matrix, precision.threshold, parts)
        return grid.four_bit(matrix, precision.quant_type, precision.double, BLOCK, parts)

    def build(self, variant: Variant[BitsAndBytesPrecision], folder: Path, progress: Progress) -> None:
        # Straight after the load: the first product on a CPU rounds the scales to bfloat16.
        self.save(variant, folder, progress)


def _quantization_config(
    precision: BitsAndBytesPrecision, compute_dtype: str, skipped: list[str]
) -> "BitsAndBytesConfig":
    import torch
    from transformers import BitsAndBytesConfig

    skip = skipped or None
    if precision.quant_type == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=precision.threshold, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision.quant_type,
        bnb_4bit_use_double_quant=precision.double,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
        llm_int8_skip_modules=skip,
    )


def what_runs(quant_type: str, placement: ResolvedPlacement) -> tuple[str, str]:
    """The type that products are really computed in, and the kernel, as bitsandbytes chooses them."""
    hush()
    from bitsandbytes.functional import has_avx512bf16

    on_cpu = placement.device == "cpu"
    if quant_type == "int8":
        return "float16 activations, int8 products", f"bitsandbytes LLM.int8 ({'CPU' if on_cpu else 'CUDA'})"
    if on_cpu and has_avx512bf16():
        return "bfloat16", "bitsandbytes gemv_4bit (CPU, avx512_bf16)"
    if on_cpu:
        return placement.compute_dtype, "bitsandbytes dequantize_4bit + torch matmul (CPU)"
    return placement.compute_dtype, "bitsandbytes gemv_4bit (CUDA)"


def suit_the_kernel(network: "torch.nn.Module") -> None:
    """Keep from the fused kernel of bitsandbytes 0.50 (CPUs with AVX-512 and bfloat16) what it cannot do.

    It reads a transposed view as if it were not one and gives numbers that have nothing to do with the product, without
    a word: 4-bit layers on a CPU are handed their inputs row by row (Mamba's are given such views). And it fails at
    sizes that it does not divide: those layers are unpacked and multiplied by torch, as on other CPUs.
    """
    from bitsandbytes.nn import Linear4bit

    for module in network.modules():
        if type(module) is Linear4bit and module.weight.device.type == "cpu":
            module.__class__ = _in_order()
            if module.out_features % OUTPUT_MULTIPLE or module.in_features % INPUT_MULTIPLE:
                module.support_avx512bf16_for_cpu = False


@cache
def _in_order() -> type:
    from bitsandbytes.nn import Linear4bit

    def forward(self, x):
        return Linear4bit.forward(self, x.contiguous())

    return type("Linear4bit", (Linear4bit,), {"forward": forward})


BITSANDBYTES = BitsAndBytes()
