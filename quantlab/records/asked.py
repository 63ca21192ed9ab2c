"""What is asked for: models, precisions, where they lie, how a comparison runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

ModelKind = Literal["demo", "folder", "hub", "shape", "package", "gguf"]

#: Said of a model of the kind `package`.
FOUR_BITS_ONCE = (
    "These weights come from a package that stores them in 4 bits (Q4_1), so they are not quite the published ones. "
    "They lie on that grid: that file itself, and formats with blocks of 32, look better here than on the original."
)

#: Said of a model of the kind `gguf`.
FROM_GGUF = (
    "The model is a GGUF file. Where that is quantized, the reference too is made of what its bits kept: how much the "
    "file lost of the original is not seen here."
)

#: Begins the name of a model in the store of Ollama.
OLLAMA = "ollama:"
#: Said of a model of the kind `shape`.
RANDOM = "The weights are random: the text means nothing, and neither do differences in it. Memory and speed are true."

#: Told how far a long job is: done, total (0 while unknown), what. It may raise `Stopped` to end the job.
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """A `Progress` for callers who do not watch."""


@dataclass(frozen=True)
class Model:
    """Weights, tokenizer and configuration from one source. `folder` is None for a shape, which has no weights.

    `gguf` is the file that holds weights and tokenizer both, where the source is one and llama.cpp is to run it.
    `origin` is the GGUF file that `folder` was written from, so that transformers and all methods over it can read it
    too (see `models.gguf.described`). Of a split file both are its first part. `identity` is a digest of the state of
    its files (see `models.identities`), which tells it from what lay there before; empty where nobody looked.
    """

    name: str
    kind: ModelKind
    folder: Path | None
    revision: str | None = None
    gguf: Path | None = None
    identity: str = ""
    origin: Path | None = None

    @property
    def meaningless(self) -> bool:
        """True where the weights are random, so that the text says nothing about quality."""
        return self.kind == "shape"

    @property
    def named_by_path(self) -> bool:
        """Whether `name` is a place on this disk, which is told to nobody."""
        of_store = self.revision is not None or self.name.lower().startswith(OLLAMA)
        return self.kind == "folder" or (self.kind == "gguf" and not of_store)

    @property
    def came_rounded(self) -> bool:
        """Whether its weights may have been quantized before they came, so that no variant is quite unquantized."""
        return self.kind in ("package", "gguf")

    @property
    def caution(self) -> str | None:
        """What is to be known of the weights themselves before their figures are read."""
        return {"package": FOUR_BITS_ONCE, "shape": RANDOM, "gguf": FROM_GGUF}.get(self.kind)


@dataclass(frozen=True)
class Adapter:
    """Matrices trained beside frozen weights (LoRA), in a folder as peft writes it.

    `identity` is a digest of the state of its files.
    """

    name: str
    folder: Path
    identity: str


@dataclass(frozen=True)
class Precision:
    """One setting of a method: what a user ticks. Methods derive their own with the options they need.

    `bits` are those stored for one weight of a quantized layer, scales and zero points included; they order the
    precisions and choose the reference. `kv_cache` is the type of keys and values where that is not the one in which
    the model computes (`runtime.kv_cache`). `adapter` lies beside its weights, where one does (`methods.adapters`).
    """

    name: str
    method: str
    bits: float
    summary: str
    kv_cache: str | None = field(default=None, kw_only=True)
    adapter: Adapter | None = field(default=None, kw_only=True)

    @property
    def exponent_bits(self) -> int:
        """How far the numbers reach, in bits of their exponent; of integers, their scales' reach."""
        return 8


#: The precisions of one method.
P = TypeVar("P", bound=Precision)
#: "auto" (accelerate spreads the layers), or pairs of module name and device, or None for everything on one device.
DeviceMap = str | tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Placement:
    """Where a variant is to lie and in what type its un-quantized parts compute, as it is asked for.

    `device` may be "auto"; `compute_dtype` None means the default for the device. `kernel` names the code that
    multiplies, for methods that have several; None leaves the choice to the method's library.
    """

    device: str = "cpu"
    compute_dtype: str | None = None
    device_map: DeviceMap = None
    kernel: str | None = None


@dataclass(frozen=True)
class ResolvedPlacement:
    """A placement that exists here, its defaults filled in: what `runtime.placement.resolve` makes of a `Placement`."""

    device: str
    compute_dtype: str
    device_map: DeviceMap = None
    kernel: str | None = None

    @property
    def asked(self) -> Placement:
        """The same as it is asked for, for the settings of records."""
        return Placement(self.device, self.compute_dtype, self.device_map, self.kernel)


@dataclass(frozen=True)
class Calibration:
    """The text that a method reads while it quantizes: `samples` windows of `length` tokens.

    `file` None is the bundled text of the demo world. `digest` tells two states of one file apart. A window is never
    longer than the model's context. The defaults are those of GPTQ (Frantar et al. 2022, arXiv:2210.17323, 4).
    """

    file: Path | None = None
    digest: str = ""
    samples: int = 128
    length: int = 2_048


@dataclass(frozen=True)
class Variant(Generic[P]):
    """Model x precision x placement: what is loaded and cached. `calibration` is None where the method reads none."""

    model: Model
    precision: P
    placement: ResolvedPlacement
    calibration: Calibration | None = None


@dataclass(frozen=True)
class TensorInfo:
    """Shape and stored type (safetensors' name: F32, BF16 ...) of one tensor of a checkpoint."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """What can be known of a model without its weights: config.json, the tensors and the bytes that they fill.

    `stored_as` names how its weights are quantized already (gptq, awq, bitsandbytes, gguf ...); None: they are not.
    `file` is the GGUF file of which these are the dequantized weights; `unreadable` says why transformers cannot take
    them out of it.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    nbytes: int
    stored_as: str | None = None
    file: "Checkpoint | None" = None
    unreadable: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it loads. `kind` is None where nothing is there by its name.

    The others are empty while it has not been looked up, or where its files do not tell: `parameters` where packed
    tensors hide their number. `context` is in tokens, `nbytes` what its weights fill where they lie.
    """

    kind: ModelKind | None = None
    architecture: str = ""
    parameters: int | None = None
    layers: int | None = None
    context: int | None = None
    nbytes: int | None = None
    stored_as: str | None = None


@dataclass(frozen=True)
class Estimate:
    """A precision as offered before anything loads. `unavailable` says why it cannot run here, else None.

    `estimated_bytes` is the planner's `stored_bytes`; `fits` compares it with `free_bytes`, those of all devices that
    it would lie on together. `crowded` names one that a device map gives more than it has room for; then it does not
    fit. `group` is the method's title. Held against a `card` by name, `free_bytes` are all of its memory, and
    `needed_bytes` the weights with keys, values and activations at some context, None where they are not known.
    """

    precision: Precision
    unavailable: str | None
    estimated_bytes: int | None
    free_bytes: int
    group: str = ""
    crowded: str = ""
    needed_bytes: int | None = None
    card: str = ""

    @property
    def fits(self) -> bool | None:
        if self.card:
            return None if self.needed_bytes is None else self.needed_bytes <= self.free_bytes
        return None if self.estimated_bytes is None else self.estimated_bytes <= self.free_bytes and not self.crowded


@dataclass(frozen=True)
class Settings:
    """How a comparison runs. The same for every variant, so that they differ by their weights alone."""

    max_new_tokens: int = 64
    sample: bool = False
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    seed: int = 0
    reference: str | None = None
    raw: bool = False
    race: bool = False
    placement: Placement = field(default_factory=Placement)
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class Request:
    """One model at several precisions; the names as a user types them."""

    model: str
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonRequest(Request):
    """One prompt through each."""

    prompt: str
    settings: Settings = field(default_factory=Settings)


#: The fields of `Settings` that the command line and the page take under the same names.
GENERATION = ("max_new_tokens", "sample", "temperature", "top_k", "top_p", "seed", "raw", "race")
