"""The weights of a GGUF file as an ordinary checkpoint of transformers, for all methods that read those.

No precision that anybody ticks: it is made when a column needs it, and kept with the quantized checkpoints.
"""

from pathlib import Path

from quantlab.errors import ModelError
from quantlab.methods.base import Method, missing_package
from quantlab.records import Checkpoint, Precision, Progress, ResolvedPlacement, Variant
from quantlab.runtime import worker


class Dequantized(Method[Precision]):
    """dequantized."""

    name = "dequantized"
    title = "Dequantized"
    packages = ("transformers", "gguf")
    kept = True
    quantizes = False
    precisions = ()

    def unavailable(self, device: str) -> str | None:
        if missing_package("gguf"):
            return "needs the package gguf to read the file: pip install gguf"
        return worker.unavailable()

    def estimate(self, precision: Precision, placement: ResolvedPlacement, checkpoint: Checkpoint) -> int:
        return checkpoint.nbytes

    def build(self, variant: Variant[Precision], folder: Path, progress: Progress) -> None:
        """Write the weights of `variant.model.origin` into the folder, with what its description says."""
        model = variant.model
        if model.origin is None:
            raise ModelError(f"{model.name} was not made of a GGUF file.", "Choose another precision.")
        arguments = {
            "name": model.name,
            "file": str(model.origin.absolute()),
            "described": str(model.folder),
            "folder": str(folder),
        }
        worker.run("quantlab.methods.gguf.dequantize:build", arguments, progress)


#: Of the variant that is kept; its bits are never shown.
PRECISION = Precision("dequantized", "dequantized", 16, "the weights of a GGUF file, taken out of it")
DEQUANTIZED = Dequantized()
