"""Quantize a folder with gptqmodel. Runs in a process of its own (`quantlab.runtime.worker`), which may print."""

import csv
import json
import math
import os
import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlab import errors
from quantlab.errors import ModelError, OutOfMemory, QuantlabError
from quantlab.methods.calibration import windows
from quantlab.methods.gptq.checking import check
from quantlab.models.architecture import context_length
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Calibration, Model, Progress
from quantlab.runtime.torch_session import is_out_of_memory

if TYPE_CHECKING:
    import torch

CONFIG, LOG, FAILED = "config.json", "quant_log.csv", "failed.json"
#: What says nothing of the weights but where and how the program ran.
_OF_THE_RUN = ("offload_to_disk", "offload_to_disk_path", "telemetry", "gc_mode", "pack_impl")
#: gptqmodel writes this loss for a layer that no calibration reached.
_NO_LOSS = 999_999_999
#: And this for a layer that AWQ only rounds, because nothing in front of it can be scaled.
_NOT_MEASURED = "not applicable"
_TOLD = {"quant_complete": 1.0, "forward_end": 0.6}


def quantize(
    progress: Progress,
    source: str,
    name: str,
    folder: str,
    work: str,
    method: str,
    options: dict[str, Any],
    device: str,
    calibration: dict[str, Any],
) -> None:
    """Write the checkpoint of `source` (called `name`), quantized by `method`, into `folder`.

    `options` are those of gptqmodel's configuration. `work` is a folder for what is needed on the way.
    Folders are absolute. Raises ModelError, OutOfMemory or BadInput (for the calibration text).
    """
    os.chdir(work)  # gptqmodel writes logs to wherever it runs
    config = json.loads(Path(source, CONFIG).read_text(encoding="utf-8"))
    file = calibration.pop("file")
    text = Calibration(Path(file) if file else None, **calibration)
    progress(0, 0, "reading the calibration text")
    tokenizer = load_tokenizer(Model(name, "folder", Path(source)))
    read = windows(tokenizer, text, context_length(config))
    written = Path(work, "written")
    progress(0, 0, "starting gptqmodel")
    dtype = _dtype(config, device)
    with _explained(name, work):
        _run(progress, source, written, method, _options(options, work), device, dtype, read)
        _check_losses(written / LOG)
    progress(1, 1, "writing the checkpoint")
    used = {"text": "user" if text.file else "bundled", "windows": len(read), "length": len(read[0])}
    used["windows_asked"] = text.samples
    _finish(Path(source), written, Path(folder), used)
    progress(1, 1, "check: the codes against the original")
    check(Path(source), Path(folder), method, name)


def _options(options: dict[str, Any], work: str) -> dict[str, Any]:
    # Without a fallback a layer that cannot be quantized is an error, and not silently rounded to nearest.
    return options | {"offload_to_disk": True, "offload_to_disk_path": str(Path(work, "layers")), "fallback": None}


def _run(
    progress: Progress,
    source: str,
    written: Path,
    method: str,
    options: dict[str, Any],
    device: str,
    dtype: "torch.dtype",
    read: list[list[int]],
) -> None:
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization import AWQConfig, GPTQConfig

    progress(0, 0, "reading the model")
    config = AWQConfig(**options) if method == "awq" else GPTQConfig(**options)
    network = GPTQModel.load(source, config, device=_device(device), dtype=dtype)
    network.subset_callback = _Told(progress, network.model.config.get_text_config().num_hidden_layers)
    # gptqmodel's first choice for AWQ compiles for a GPU; the plain one stores the same.
    backend = BACKEND.AWQ_TORCH if method == "awq" else BACKEND.AUTO
    network.quantize(read, batch_size=1, calibration_sort=None, calibration_data_min_length=0, backend=backend)
    network.save(str(written))


def _device(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def _dtype(config: Mapping[str, Any], device: str) -> "torch.dtype":
    """The type in which the layers compute while they are measured.

    float32 on a CPU: few have the narrow types in hardware, and what is written then does not depend on which. On a
    GPU the model's own.
    """
    import torch

    stored = getattr(torch, config.get("dtype") or config.get("torch_dtype") or "float32")
    if device == "cpu":
        return torch.float32
    return stored if stored in (torch.float16, torch.bfloat16) else torch.bfloat16


class _Told:
    """Turns gptqmodel's events (some for each set of layers that share their inputs) into progress by layer."""

    def __init__(self, progress: Progress, layers: int) -> None:
        self._progress, self._layers = progress, layers
        progress(0, layers * 100, f"layer 1 of {layers}")

    def subset_event(self, stage: str, layer_idx: int, subset_index: int, subset_total: int, **_others: object) -> None:
        if stage not in _TOLD:
            return
        share = (subset_index + _TOLD[stage]) / subset_total
        done = int(100 * (layer_idx + share))
        self._progress(done, self._layers * 100, f"layer {layer_idx + 1} of {self._layers}")


@contextmanager
def _explained(name: str, work: str) -> Iterator[None]:
    """gptqmodel raises whatever it meets; a user is told its first line, and the worker's log gets the rest.

    An error in one of its threads ends the process at once: it is left in the work folder for `failure`.
    """
    from quantlab.methods.gptq.patches import mend

    def leave(error: BaseException) -> None:
        told = _translated(error, name)
        Path(work, FAILED).write_text(json.dumps([type(told).__name__, told.what, told.advice]))

    mend(leave)
    try:
        yield
    except (QuantlabError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno and not is_out_of_memory(error):
            raise
        traceback.print_exc()
        raise _translated(error, name) from error


def _translated(error: BaseException, name: str) -> QuantlabError:
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{name} does not fit into memory while it is quantized.",
            "Choose a smaller model or fewer calibration samples, or free some memory.",
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"{name} cannot be quantized: {reason}", "Choose another precision, or another calibration text.")


def failure(work: Path) -> QuantlabError | None:
    """What ended the process, if a thread of gptqmodel did."""
    try:
        kind, what, advice = json.loads((work / FAILED).read_text())
    except (OSError, ValueError):
        return None
    return getattr(errors, kind)(what, advice)


def _check_losses(log: Path) -> None:
    """Raise ModelError where a layer was not really quantized: its activations or its error are no finite numbers."""
    with log.open(newline="") as opened:
        for row in csv.DictReader(opened):
            if not _is_loss(row["loss"]):
                raise ModelError(
                    f"Layer {row['layer']}, {row['module']}: the calibration gives no finite numbers there.",
                    "The model's weights may be damaged; else try another calibration text.",
                )


def _is_loss(text: str) -> bool:
    if text == _NOT_MEASURED:
        return True
    try:
        loss = float(text)
    except ValueError:
        return False
    return math.isfinite(loss) and loss < _NO_LOSS


def _finish(source: Path, written: Path, folder: Path, used: dict[str, Any]) -> None:
    """Put what belongs to a checkpoint into `folder`: the weights, and the source's configuration with what was done.

    gptqmodel's own copy of the configuration has the types and tokens it worked with, and paths of this machine.
    """
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    quantization = json.loads((written / CONFIG).read_text(encoding="utf-8"))["quantization_config"]
    meta = {key: value for key, value in quantization.get("meta", {}).items() if key not in _OF_THE_RUN}
    quantization["meta"] = meta | {"calibration": used}
    (folder / CONFIG).write_text(json.dumps(config | {"quantization_config": quantization}, indent=2) + "\n")
    files = sorted(written.glob("*.safetensors"))
    quantized = {name.removesuffix(".qweight") for file in files for name in _names(file) if name.endswith(".qweight")}
    dtype = config.get("dtype") or config.get("torch_dtype")
    for file in files:
        _copy_weights(file, folder / file.name, dtype, quantized)
        file.unlink()
    for index in written.glob("*.safetensors.index.json"):
        shutil.move(index, folder / index.name)


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def _copy_weights(file: Path, target: Path, dtype: str | None, quantized: set[str]) -> None:
    """Copy a file of weights, what is not quantized in `dtype`: the type that the source has, not the one worked in."""
    import torch
    from safetensors.torch import load_file, save_file

    wanted = getattr(torch, dtype) if dtype else None
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if wanted is not None and tensor.is_floating_point() and name.rpartition(".")[0] not in quantized:
            tensors[name] = tensor.to(wanted)
    save_file(tensors, target, metadata={"format": "pt"})
