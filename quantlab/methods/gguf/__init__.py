"""GGUF: the files of llama.cpp, made here from a model of transformers or published by others, and run by llama.cpp.

The precisions are llama.cpp's own mixtures of tensor types. iq3_xxs and iq2_xxs spend their few bits where activations
are large: they need an importance matrix, which is gathered over a calibration text.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.errors import ModelError
from quantlab.methods.base import Method, already_quantized, missing_package
from quantlab.methods.gguf import architecture as architectures
from quantlab.methods.gguf.header import read_header
from quantlab.methods.gguf.storage import parts_of, quantized_as
from quantlab.methods.gguf.tensor_types import BASE, Sizes, fallback, predict
from quantlab.methods.gguf.types import TYPES
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import Calibration, Checkpoint, Model, Precision, Progress, ResolvedPlacement, TensorInfo, Variant
from quantlab.runtime import worker
from quantlab.runtime.kv_cache import GGML

if TYPE_CHECKING:
    from quantlab.runtime.session import LoadedModel

__all__ = ["GGUF", "NAME", "Gguf", "GgufPrecision", "load_file", "load_foreign", "read_header"]

#: The file that `build` writes.
NAME = "model.gguf"
_PACKAGES = {"llama_cpp": "llama-cpp-python", "gguf": "gguf"}


@dataclass(frozen=True)
class GgufPrecision(Precision):
    """`file_type` is llama.cpp's name of the mixture; with `imatrix` it needs an importance matrix."""

    file_type: str
    imatrix: bool = False


def _precision(file_type: str, summary: str, imatrix: bool = False) -> GgufPrecision:
    bits = TYPES[BASE[file_type]].bits
    return GgufPrecision(file_type.lower(), "gguf", bits, summary, file_type, imatrix)


def _tensor_type(name: str, summary: str) -> GgufPrecision:
    """A type that no file of the precisions above begins with, but that stands in for others."""
    return GgufPrecision(name.lower(), "gguf", TYPES[name].bits, summary, name)


class Gguf(Method[GgufPrecision]):
    """f16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, q3_k_m, q2_k, iq3_xxs and iq2_xxs."""

    name = "gguf"
    title = "GGUF (llama.cpp)"
    packages = ("llama-cpp-python", "gguf", "transformers")
    kept = True
    reads_gguf = True
    kv_caches = tuple(GGML)
    precisions = (
        _precision("F16", "16-bit floating point, run by llama.cpp"),
        _precision("Q8_0", "8-bit integers, a scale for 32 weights"),
        _precision("Q6_K", "6-bit integers, scales quantized again"),
        _precision("Q5_K_M", "5-bit integers, sensitive layers in 6 bits"),
        _precision("Q4_K_M", "4-bit integers, sensitive layers in 6 bits: the usual choice"),
        _precision("Q4_0", "4-bit integers, a scale for 32 weights"),
        _precision("Q3_K_M", "3-bit integers, sensitive layers in 4 and 5 bits"),
        _precision("Q2_K", "2-bit integers, sensitive layers in 3 and 4 bits"),
        _precision("IQ3_XXS", "3-bit codebook, spent by an importance matrix", imatrix=True),
        _precision("IQ2_XXS", "2-bit codebook, spent by an importance matrix", imatrix=True),
    )

    _types = (
        _tensor_type("Q5_1", "5-bit integers, a scale and a minimum for 32 weights"),
        _tensor_type("Q5_0", "5-bit integers, a scale for 32 weights"),
        _tensor_type("Q4_1", "4-bit integers, a scale and a minimum for 32 weights"),
    )

    def parse(self, name: str) -> GgufPrecision | None:
        """`q4_k_m`, with an importance matrix `q4_k_m-imatrix`."""
        plain = super().parse(name.removesuffix("-imatrix"))
        if plain is None or plain.name == name:
            return plain
        if plain.imatrix or plain.bits > 8:
            return None
        summary = f"{plain.summary}, spent by an importance matrix"
        return replace(plain, name=name, summary=summary, imatrix=True)

    def grids(self) -> tuple[GgufPrecision, ...]:
        integers = tuple(it for it in self.precisions if not it.imatrix and TYPES[BASE[it.file_type]].quantized)
        return integers + self._types

    def rounded(self, precision: GgufPrecision, matrix: Matrix) -> Rounded:
        from quantlab.methods.gguf.grid import grid

        return grid(matrix, precision.file_type)

    def calibrated(self, precision: GgufPrecision) -> bool:
        return precision.imatrix

    def unavailable(self, device: str) -> str | None:
        for module, package in _PACKAGES.items():
            if missing_package(module):
                compiler = " (it is compiled, which needs a C++ compiler)" if module == "llama_cpp" else ""
                return f"needs the package {package}{compiler}: make gguf, or pip install '.[gguf]'"
        if device.startswith("cuda") and not _runs_on_cuda():
            return (
                "needs llama.cpp built for CUDA, and this one is for the CPU: "
                "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-binary :all: llama-cpp-python"
            )
        return worker.unavailable()

    def refuses(self, precision: GgufPrecision, checkpoint: Checkpoint, device: str) -> str | None:
        if checkpoint.file is None:
            return already_quantized(checkpoint) or architectures.refusal(checkpoint.config)
        if not precision.imatrix:  # llama.cpp's own tool makes it of the file, whatever its architecture
            return None
        return already_quantized(checkpoint) or architectures.refusal(checkpoint.config)

    def prepare(self) -> None:
        from quantlab.methods.gguf import library, loading  # noqa: F401 - imported ahead of time

        library.lib()

    def weight_bytes(self, precision: GgufPrecision, rows: int, columns: int) -> int:
        """Of the type that most matrices get; some layers get a larger one (see `parts`)."""
        kind = TYPES[fallback(BASE[precision.file_type], columns)]
        return rows * columns // kind.block * kind.nbytes

    def code_bytes(self, precision: GgufPrecision, rows: int, columns: int) -> int:
        kind = TYPES[fallback(BASE[precision.file_type], columns)]
        return rows * columns // kind.block * (kind.nbytes - kind.overhead)

    def dtype(self, precision: GgufPrecision, placement: ResolvedPlacement) -> str:
        """The type of keys and values."""
        return "float32" if placement.compute_dtype == "float32" else "float16"

    def parts(
        self, precision: GgufPrecision, placement: ResolvedPlacement, checkpoint: Checkpoint
    ) -> Mapping[str, int]:
        """The bytes of the file's tensors, by llama.cpp's own rules of which layer gets which type.

        For a model that cannot be exported, what its matrices would take in the type that most of them get.
        """
        if checkpoint.file is not None:
            return parts_of(self._of_file(precision, checkpoint.file))
        if architectures.lacking(checkpoint.config):
            return super().parts(precision, placement, checkpoint)
        try:
            planned = architectures.plan(checkpoint.config, checkpoint.tensors)
        except ModelError:
            return super().parts(precision, placement, checkpoint)
        infos = {name: it.info for name, it in planned.items()}
        sizes = architectures.sizes(checkpoint.config, planned)
        return parts_of(predict(precision.file_type, infos, sizes))

    def _of_file(self, precision: GgufPrecision, file: Checkpoint) -> Mapping[str, TensorInfo]:
        """The tensors of what is made of a GGUF file itself."""
        heads = _first(file.config.get("num_attention_heads"))
        layers = _first(file.config.get("num_hidden_layers"))
        keys = _first(file.config.get("num_key_value_heads"), heads)
        sizes = Sizes(layers, heads, keys, "output.weight" not in file.tensors)
        return predict(precision.file_type, file.tensors, sizes)

    def spreads(self, checkpoint: Checkpoint) -> bool:
        return False

    def build(self, variant: Variant[GgufPrecision], folder: Path, progress: Progress) -> None:
        model, text = variant.model, variant.calibration or Calibration()
        calibration = None
        if variant.precision.imatrix:
            calibration = asdict(text) | {"file": str(text.file) if text.file else None}
        arguments = {
            "model": {
                "name": model.name,
                "kind": model.kind,
                "folder": str(model.folder) if model.folder else None,
                "origin": str(model.origin) if model.origin else None,
            },
            "folder": str(folder),
            "name": NAME,
            "file_type": variant.precision.file_type,
            "calibration": calibration,
        }
        worker.run("quantlab.methods.gguf.building:build", arguments, progress)

    def load(
        self, model: Model, precision: GgufPrecision, placement: ResolvedPlacement, progress: Progress
    ) -> "LoadedModel":
        loaded = load_file(model.gguf or _built(model), model, placement, progress)
        if model.origin is not None and (was := quantized_as(read_header(model.origin, model.name))):
            note = f"it was made of weights that were {was} already, and is worse for it than one made of the original"
            loaded.facts = replace(loaded.facts, notes=(*loaded.facts.notes, note))
        return loaded


def _built(model: Model) -> Path:
    """Where `build` writes; there is nothing of a shape, which has no folder, before that."""
    if model.folder is None:
        raise ModelError(f"{model.name} has no GGUF file.", "Choose another precision.")
    return model.folder / NAME


def _first(value: object, other: int = 1) -> int:
    """A count, the largest of those that are told layer by layer."""
    if isinstance(value, list | tuple):
        value = max(value, default=None)
    return value if isinstance(value, int) and value > 0 else other


def load_file(file: Path, model: Model, placement: ResolvedPlacement, progress: Progress) -> "LoadedModel":
    """Load any .gguf file with llama.cpp. `progress` may raise `Stopped`.

    Raises ModelError for a file that is damaged, cut short or of an unknown architecture, OutOfMemory.
    """
    from quantlab.methods.gguf.loading import load_file as load

    return load(file, model, placement, progress)


def load_foreign(file: Path, model: Model, placement: ResolvedPlacement, progress: Progress) -> "LoadedModel":
    """The same for a file that was not made here: one that ends llama.cpp ends a process of its own, and is refused.

    Raises ModelError for such a file too.
    """
    from quantlab.methods.gguf.trying import try_first

    notes = try_first(file, model, placement, progress)
    loaded = load_file(file, model, placement, progress)
    loaded.facts = replace(loaded.facts, notes=(*loaded.facts.notes, *notes))
    return loaded


def _runs_on_cuda() -> bool:
    """Whether the installed llama.cpp has a CUDA back end, found out without loading it."""
    found = find_spec("llama_cpp")
    folders = (found and found.submodule_search_locations) or ()
    return any(path for folder in folders for path in Path(folder, "lib").glob("*ggml-cuda*"))


GGUF = Gguf()
