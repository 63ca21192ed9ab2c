"""From a model of transformers to a quantized GGUF file, in a process of its own: export, check, quantize."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from quantlab import models
from quantlab.errors import ModelError
from quantlab.methods.gguf import architecture as architectures
from quantlab.methods.gguf.export import export
from quantlab.methods.gguf.header import read_header
from quantlab.methods.gguf.loading import load_file
from quantlab.methods.gguf.quantize import importance_matrix, quantize
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Calibration, Model, Progress, ResolvedPlacement, silent

PROBE = (
    "Every export is checked: the year 1984, 3.14159 and 1,000,000.\n\n\tWhere's the naïve café? "
    "It isn't far – über die Straße; 東京 и Москва, 😀!  (Two  spaces.)\n"
)
#: Positions whose logits are compared.
POSITIONS = 32
#: How far the logits of an export may be from transformers', relative to their own spread. The types are those of the
#: weights: llama.cpp rounds activations to the same type. A forgotten bias or a wrong order of rows gives about 1.
TOLERANCE = {"F32": 1e-3, "F16": 2e-2, "BF16": 1e-1}
#: Checkpoints below this are compared in float32, larger ones in their own type, to save memory.
_FLOAT32_BELOW = 4 * 10**9
_TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CPU = ResolvedPlacement("cpu", "float32")


class _Span:
    """A share of a longer job's progress, in thousandths of the whole."""

    def __init__(self, progress: Progress, start: int, end: int) -> None:
        self._progress, self._start, self._end = progress, start, end

    def __call__(self, done: int, total: int, what: str) -> None:
        self._progress(self._start + (self._end - self._start) * done // max(total, 1), 1_000, what)


def build(
    progress: Progress,
    model: Mapping[str, Any],
    folder: str,
    name: str,
    file_type: str,
    calibration: Mapping[str, Any] | None,
) -> None:
    """The task of the worker: write `name` into `folder`. Arguments are plain JSON.

    Raises ModelError where the model cannot be exported or its export does not do what the original does.
    """
    folder_of, origin = (Path(model[key]) if model[key] else None for key in ("folder", "origin"))
    source = Model(model["name"], model["kind"], folder_of, origin=origin)
    target, base = Path(folder, name), Path(folder, "export.gguf")
    if origin is not None:
        _of_file(source, origin, target, file_type, calibration, progress)
        return
    config = _config(source)
    planned = architectures.plan(config, models.tensors(source))
    progress(0, 1_000, "original weights")
    network = _original(source, planned, _Span(progress, 0, 100))
    ids, expected = _probe(source, network, config)
    importance: dict[str, torch.Tensor] | None = None
    settings: dict[str, str | int] = {}
    if calibration is not None:
        importance, settings = _importance(source, network, planned, calibration, config, _Span(progress, 100, 500))
    del network
    here = 500 if calibration is not None else 100
    export(source, config, base, _Span(progress, here, here + 200))
    progress(here + 200, 1_000, "check: the export against the original")
    check(base, source, ids, expected)
    quantize(base, target, file_type, _Span(progress, here + 220, 1_000), importance, settings)
    base.unlink()
    read_header(target)
    progress(1_000, 1_000, "quantize")


def _of_file(
    source: Model, file: Path, target: Path, file_type: str, calibration: Mapping[str, Any] | None, progress: Progress
) -> None:
    """Make it of a GGUF file, as llama.cpp's own tool does; the dequantized weights serve the importances alone."""
    importance: dict[str, torch.Tensor] | None = None
    settings: dict[str, str | int] = {}
    here = 0
    if calibration is not None:
        config = _config(source)
        planned = architectures.plan(config, models.tensors(source))
        network = _original(source, planned, _Span(progress, 0, 100))
        importance, settings = _importance(source, network, planned, calibration, config, _Span(progress, 100, 500))
        del network
        here = 500
    quantize(file, target, file_type, _Span(progress, here, 1_000), importance, settings, again=True)
    read_header(target)
    progress(1_000, 1_000, "quantize")


def _config(model: Model) -> dict[str, Any]:
    """The whole configuration, with what config.json leaves to the defaults of its class."""
    from transformers import AutoConfig

    values = models.config(model)
    named = architectures.architecture(values)
    whole = AutoConfig.for_model(**values).to_dict()
    return {**whole, "architectures": [named], **{key: it for key, it in values.items() if it is not None}}


def _original(model: Model, planned: Mapping[str, architectures.Planned], progress: Progress) -> torch.nn.Module:
    from quantlab.methods import transformers_loading

    stored = [it.info.dtype for it in planned.values() if len(it.info.shape) > 1]
    small = models.checkpoint(model).nbytes < _FLOAT32_BELOW
    dtype = "float32" if small else _TORCH[max(set(stored), key=stored.count)]
    return transformers_loading.load(model, _CPU, dtype, progress)


@torch.inference_mode()
def _probe(model: Model, network: torch.nn.Module, config: Mapping[str, Any]) -> tuple[list[int], torch.Tensor]:
    """Token ids of the probe text, BOS first where there is one, and transformers' log-probabilities of the next."""
    tokenizer = load_tokenizer(model)
    length = min(POSITIONS + 1, architectures.context_length(config))
    ids = tokenizer.encode(PROBE)[:length]
    logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return ids, torch.log_softmax(logits.float(), dim=-1)


def _importance(
    model: Model,
    network: torch.nn.Module,
    planned: Mapping[str, architectures.Planned],
    calibration: Mapping[str, Any],
    config: Mapping[str, Any],
    progress: Progress,
) -> tuple[dict[str, torch.Tensor], dict[str, str | int]]:
    from quantlab.methods.calibration import windows

    wanted = Calibration(**{**calibration, "file": Path(calibration["file"]) if calibration["file"] else None})
    texts = windows(load_tokenizer(model), wanted, architectures.context_length(config))
    targets = [name for name, it in planned.items() if name.startswith("blk.") and len(it.info.shape) > 1]
    found = importance_matrix(network, targets, texts, progress)
    settings: dict[str, str | int] = {
        "quantize.imatrix.dataset": wanted.file.name if wanted.file else "bundled text",
        "quantize.imatrix.entries_count": len(found),
        "quantize.imatrix.chunks_count": len(texts),
    }
    return found, settings


def check(file: Path, model: Model, ids: Sequence[int], expected: torch.Tensor) -> None:
    """Compare an export with its source: the tokens of a text, and the log-probabilities `[len(ids) - 1, vocabulary]`.

    Raises ModelError where they differ by more than the rounding of their type explains.
    """
    loaded = load_file(file, model, _CPU, silent)
    try:
        theirs, ours = loaded.tokenize(PROBE), tuple(load_tokenizer(model).encode(PROBE, add_special_tokens=False))
        if theirs != ours:
            raise ModelError(
                f"llama.cpp splits a text into other tokens than the tokenizer of {model.name}"
                f" (from token {_first_difference(theirs, ours)}).",
                "It cannot be used as GGUF; choose another method.",
            )
        scores = torch.cat(list(loaded.start(len(ids)).score(list(ids), 1)))
    finally:
        loaded.close()
    error = relative_error(scores, expected)
    matrices = [it.dtype for it in read_header(file).tensors.values() if len(it.shape) > 1]
    if not error <= TOLERANCE[max(set(matrices), key=matrices.count)]:
        raise ModelError(
            f"The GGUF export of {model.name} does not compute what the original does (relative error {error:.2g}).",
            "It cannot be used as GGUF; choose another method.",
        )


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance of two sets of log-probabilities, relative to the spread of `expected` around its mean per position."""
    spread = expected - expected.mean(-1, keepdim=True)
    return ((found - expected).norm() / spread.norm()).item()


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
