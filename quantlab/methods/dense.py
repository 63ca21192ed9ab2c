"""No quantization: every weight in one floating-point type. What the other methods are measured against."""

from dataclasses import dataclass
from pathlib import Path

from quantlab.methods.transformers_method import TransformersMethod
from quantlab.methods.weights import DTYPE_BYTES
from quantlab.records import Model, Precision, Progress, ResolvedPlacement, Variant
from quantlab.runtime.session import LoadedModel


@dataclass(frozen=True)
class DensePrecision(Precision):
    """`dtype` is torch's name of the type."""

    dtype: str

    @property
    def exponent_bits(self) -> int:
        return 5 if self.dtype == "float16" else 8


class Dense(TransformersMethod[DensePrecision]):
    """fp32, fp16 and bf16."""

    name = "dense"
    title = "Floating point"
    takes_adapters = True
    quantizes = False
    precisions = (
        DensePrecision("fp32", name, 32, "32-bit floating point, full precision", "float32"),
        DensePrecision("fp16", name, 16, "16-bit floating point, narrow range", "float16"),
        DensePrecision("bf16", name, 16, "16-bit floating point, as most models are published", "bfloat16"),
    )

    def weight_bytes(self, precision: DensePrecision, rows: int, columns: int) -> int:
        return rows * columns * DTYPE_BYTES[precision.dtype]

    def code_bytes(self, precision: DensePrecision, rows: int, columns: int) -> int:
        return self.weight_bytes(precision, rows, columns)

    def dtype(self, precision: DensePrecision, placement: ResolvedPlacement) -> str:
        return precision.dtype

    def load(
        self, model: Model, precision: DensePrecision, placement: ResolvedPlacement, progress: Progress
    ) -> LoadedModel:
        from quantlab.methods import transformers_loading as loading

        dtype = precision.dtype
        return loading.finish(loading.load(model, placement, dtype, progress), placement, dtype, f"torch ({dtype})")

    def build(self, variant: Variant[DensePrecision], folder: Path, progress: Progress) -> None:
        self.save(variant, folder, progress)


DENSE = Dense()
