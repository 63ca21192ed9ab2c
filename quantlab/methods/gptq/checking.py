"""A quantized checkpoint held against the model that it was made of, tensor by tensor."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from quantlab.errors import ModelError
from quantlab.methods.gptq.packed import factors, format_of, weight_of, wrong_format
from quantlab.models.layouts import EMBEDDINGS, HEADS, packed_bits
from quantlab.records import TensorInfo

#: How far a layer may be from its original: the norm of the difference over the norm of the original, by bits. Rounding
#: to nearest in groups of 64 takes 0.005, 0.09, 0.19 and 0.45 of normally distributed weights; GPTQ trades some of that
#: against the activations (on the bundled model up to 0.21, 0.40 and 0.95). A layer of other weights is 1.4 away.
FARTHEST = {8: 0.1, 4: 0.5, 3: 0.8, 2: 1.3}


class _Tensors:
    """The tensors of a folder, read one at a time."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._files: dict[str, Any] = {}
        for file in sorted(folder.glob("*.safetensors")):
            held = opened.enter_context(safe_open(file, "pt"))
            self._files |= dict.fromkeys(held.keys(), held)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._files[name].get_tensor(name)


def check(source: Path, folder: Path, method: str, name: str) -> dict[str, float]:
    """How far each quantized layer is from its original (norm of the difference over norm of the original).

    What was not quantized must be as it was; AWQ moves scales into what stands before a layer. Raises ModelError where
    a weight is missing, another one, or farther away than rounding explains.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = config["quantization_config"]
    with ExitStack() as opened:
        ours, theirs = _Tensors(source, opened), _Tensors(folder, opened)
        return {
            layer: far
            for weight in ours
            if (found := _compared(weight, ours, theirs, settings | {"quant_method": method}, name)) is not None
            for layer, far in (found,)
        }


def check_published(folder: Path, held: Mapping[str, TensorInfo], settings: Mapping[str, Any], name: str) -> None:
    """Raise ModelError where values in a folder of GPTQ cannot be: its kernels would read beyond the scales, or other
    weights than were stored. `held` is what the headers of its files list."""
    layers = [key.removesuffix(".qweight") for key in held if key.endswith(".qweight")]
    with ExitStack() as opened:
        tensors = _Tensors(folder, opened)
        for layer in layers:
            if f"{layer}.g_idx" not in held or f"{layer}.scales" not in held:
                continue
            groups, of_inputs = held[f"{layer}.scales"].shape[0], tensors[f"{layer}.g_idx"]
            if len(of_inputs) and not 0 <= int(of_inputs.min()) <= int(of_inputs.max()) < groups:
                raise ModelError(
                    f"{name} is damaged: {layer}.g_idx names group {int(of_inputs.max()):,}, and there are {groups:,}.",
                    "Download or copy it again.",
                )
        first = next((f"{layer}.qzeros" for layer in layers if f"{layer}.qzeros" in held), None)
        if first is not None and (wrong := wrong_format(tensors[first], int(settings["bits"]), settings)) is not None:
            raise ModelError(f"{name} cannot be read as it says: {wrong}.", "Mend checkpoint_format in config.json.")


def _compared(
    weight: str, ours: _Tensors, theirs: _Tensors, settings: Mapping[str, Any], name: str
) -> tuple[str, float] | None:
    layer, _, kind = weight.rpartition(".")
    if f"{layer}.qweight" in theirs and kind == "weight":
        return layer, _distance(layer, ours[weight], theirs, settings, name)
    if weight in theirs:
        in_block = any(part.isdigit() for part in weight.split("."))
        if not (in_block and settings["quant_method"] == "awq") and not _equal(ours[weight], theirs[weight]):
            raise _wrong(name, f"{weight} was not to be quantized, but is not what it was")
    elif kind in ("weight", "bias") and ours[weight].dim() <= 2 and not _is_tied(weight, ours):
        raise _wrong(name, f"{weight} is missing")
    return None


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to(other.dtype), other)


def _is_tied(weight: str, ours: _Tensors) -> bool:
    """Whether a head that is missing is the embeddings."""
    embeddings = next((each for each in ours if each.endswith(EMBEDDINGS)), None)
    return weight.endswith(HEADS) and embeddings is not None and _equal(ours[weight], ours[embeddings])


def _distance(layer: str, original: torch.Tensor, theirs: _Tensors, settings: Mapping[str, Any], name: str) -> float:
    keys = ("qweight", "qzeros", "scales", "g_idx")
    held = {key: theirs[f"{layer}.{key}"] for key in keys if f"{layer}.{key}" in theirs}
    method, bits = settings["quant_method"], settings["bits"]
    packed = packed_bits("", {f".{key}": TensorInfo(tuple(it.shape), "I32") for key, it in held.items()})
    if packed is None or packed.bits != bits:
        raise _wrong(name, f"{layer} does not have the sizes of {bits} bits")
    found = weight_of(held, method, bits, format_of(settings))
    original = original.float()
    if found.shape != original.shape and found.T.shape == original.shape:  # GPT-2 keeps [inputs, outputs]
        original = original.T
    if found.shape != original.shape:
        raise _wrong(name, f"{layer} has the sizes {tuple(found.shape)} and not {tuple(original.shape)}")
    if method == "awq":
        columns, rows = factors(original, found)
        original = original * columns * rows
    far = float((found - original).norm() / original.norm().clamp(min=torch.finfo(torch.float32).tiny))
    if not far <= FARTHEST[bits]:
        raise _wrong(name, f"{layer} is {far:.2f} times its own size away from its original")
    return far


def _wrong(name: str, what: str) -> ModelError:
    return ModelError(
        f"{name} was not quantized rightly: {what}.", "Choose another precision; round to nearest takes every model."
    )
