"""No quantization: every weight in one floating-point type. What the other methods are measured against."""

from quantlab.methods.base import DTYPE_BYTES
from quantlab.records import Model, Placement, Precision, Progress
from quantlab.runtime.session import LoadedModel

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class Dense:
    """fp32, fp16 and bf16."""

    name = "dense"
    precisions = (
        Precision("fp32", "dense", 32, "32-bit floating point, full precision"),
        Precision("fp16", "dense", 16, "16-bit floating point, narrow range"),
        Precision("bf16", "dense", 16, "16-bit floating point, as most models are published"),
    )

    def unavailable(self, device: str) -> str | None:
        return None

    def prepare(self) -> None:
        from quantlab.methods import transformers_loading

        transformers_loading.prepare()

    def weight_bytes(self, precision: Precision, rows: int, columns: int) -> int:
        return rows * columns * DTYPE_BYTES[_DTYPES[precision.name]]

    def dtype(self, precision: Precision, placement: Placement) -> str:
        return _DTYPES[precision.name]

    def load(self, model: Model, precision: Precision, placement: Placement, progress: Progress) -> LoadedModel:
        from quantlab.methods import transformers_loading as loading

        dtype = _DTYPES[precision.name]
        return loading.finish(loading.load(model, placement, dtype, progress), placement, dtype, f"torch ({dtype})")


DENSE = Dense()
