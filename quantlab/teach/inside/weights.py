"""The linear layers of a model, and the weight of one, read from its files without loading the model."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab import models
from quantlab.checkpoints.load import checkpoint_store, with_weights
from quantlab.errors import BadInput, ModelError, unknown
from quantlab.methods import precision, variant_of
from quantlab.methods.layout import layout
from quantlab.models.reading import reader
from quantlab.records import Calibration, Checkpoint, Model, Progress, ResolvedPlacement, Variant, silent
from quantlab.settings import AppSettings

if TYPE_CHECKING:
    import torch

#: The type that everything here is computed in, so that nothing but the rounding shown is rounded.
PLACEMENT = ResolvedPlacement("cpu", "float32")
#: A weight with more numbers than this is not read: in float32 it would take more than 1 GB, and two are kept.
MOST = 250 * 10**6
_ENDING = ".weight"


def resolved(name: str, app: AppSettings, progress: Progress = silent) -> Model:
    """The model that was named; in public one of those allowed. Raises BadInput or ModelError."""
    return models.resolve_main(name, app, progress)


def dense(model: Model) -> Variant:
    """The model as it is, in float32."""
    return variant_of(model, precision("fp32"), PLACEMENT, Calibration())


def layers(model: Model) -> tuple[str, ...]:
    """The linear layers whose weights methods quantize, by transformers' names, layer by layer, attention first.

    Raises ModelError for a model that is quantized already.
    """
    names = (name.removesuffix(_ENDING) for name in _linear(model.identity, model))
    return tuple(sorted(names, key=_order))


def _order(name: str) -> tuple[list[int], bool, str]:
    return [int(number) for number in re.findall(r"\d+", name)], "attn" not in name, name


@lru_cache(maxsize=8)
def _linear(_identity: str, model: Model) -> dict[str, tuple[str, bool]]:
    """Name of each weight -> its name in the files, and whether it lies the other way round there."""
    known = models.checkpoint(model)
    if known.stored_as is not None:
        raise ModelError(
            f"The weights of {model.name} are quantized already ({known.stored_as}).",
            "Choose the model that they were made of: here each method begins with the original numbers.",
        )
    found = {}
    for weight in layout(known, "float32").weights:
        if weight.kind == "linear" and (held := _held(weight.name, weight.shape, known)) is not None:
            found[weight.name] = held
    if not found:
        raise ModelError(f"{model.name} has no linear layer that lies in its files by itself.", "Choose another model.")
    return found


def _held(name: str, shape: tuple[int, ...], known: Checkpoint) -> tuple[str, bool] | None:
    """Files may lack the prefix that modules have, or have one more. Conv1D keeps `[inputs, outputs]`."""
    same = [it for it in known.tensors if it == name or name.endswith(f".{it}") or it.endswith(f".{name}")]
    for held in sorted(same, key=lambda it: it != name):
        if (lies := known.tensors[held].shape) in (shape, shape[::-1]):
            return held, lies != shape or _turned(known)
    return None


def _turned(known: Checkpoint) -> bool:
    """A square matrix does not tell by its shape how it lies: GPT-2 and its kin keep all of them turned."""
    return known.config.get("model_type") in ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


def shown_name(model: Model) -> str:
    """The model's name; of one that is named by a path no more than its end, since results are handed on."""
    return Path(model.name).name if model.named_by_path else model.name


def weight_name(model: Model, layer: str) -> str:
    """The name of a layer's weight; an empty `layer` is the first. Raises BadInput for one that the model lacks."""
    known = layers(model)
    wanted = layer.strip().removesuffix(_ENDING) or known[0]
    if wanted not in known:
        if any(it == wanted or it == wanted + _ENDING for it in models.tensors(model)):
            raise BadInput(
                f"{wanted} of {model.name} is no weight of a linear layer: methods leave it as it is.",
                f"Choose a linear layer, such as {known[0]}.",
            )
        raise unknown("layer", wanted[:200], known)
    return wanted + _ENDING


def weight(model: Model, name: str) -> "torch.Tensor":
    """float32 `[outputs, inputs]`. Raises BadInput for one that is too large, ModelError for one that is not finite."""
    return _weight(model.identity, model, name)


@lru_cache(maxsize=2)
def _weight(_identity: str, model: Model, name: str) -> "torch.Tensor":
    held, turned = _linear(model.identity, model)[name]
    info = models.tensors(model)[held]
    if info.shape[0] * info.shape[1] > MOST:
        raise BadInput(f"{name} has more than {MOST:,} numbers.", "Choose a smaller layer or model.")
    source = with_weights(dense(model), checkpoint_store(), silent).model
    with reader(source, frozenset(it.dtype for it in models.tensors(source).values())) as read:
        found = read(held).float()
    found = found.T.contiguous() if turned else found
    if not bool(found.isfinite().all()):
        raise ModelError(f"{name} of {model.name} holds what is no finite number.", "Choose another layer.")
    return found
