"""Adapters trained beside frozen weights (LoRA: Hu et al. 2021, arXiv:2106.09685), as peft writes them into a folder:
what `+NAME` or `+FOLDER` behind a precision's name asks for."""

import math
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput, ModelError, QuantlabError, shown
from quantlab.methods.layout import layout
from quantlab.methods.weights import Weight
from quantlab.models.folder import read_header, read_json
from quantlab.models.identities import identity
from quantlab.records import Adapter, Checkpoint, Model
from quantlab.settings import AppSettings, app_settings

PLUS = "+"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: What a fine-tuning here writes down beside the adapter.
ASKED = "quantlab.json"
#: What peft wraps around a module's name.
_PREFIX = "base_model.model."
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<which>[AB])(?:\.\w+)?\.weight$")
_VECTOR = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.\w+)?(?:\.weight)?$")
#: Settings of peft's LoRA by which more than two matrices beside a layer are changed.
_MORE = (
    "modules_to_save", "layer_replication", "megatron_config", "trainable_token_indices", "target_parameters",
    "alora_invocation_tokens", "arrow_config", "lora_bias", "fan_in_fan_out",
)  # fmt: skip
#: Initializations that change the frozen weights too, so that the saved matrices fit no published base.
_CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga")
_NEEDED = "Give a folder that peft wrote: it holds adapter_config.json and adapter_model.safetensors."


@dataclass(frozen=True)
class Held:
    """What the files of an adapter say. `modules` maps a layer's name to (outputs, inputs); `nbytes` is what its
    matrices take in memory, where peft keeps them in float32, by the layer."""

    config: dict[str, Any]
    modules: dict[str, tuple[int, int]]
    nbytes: dict[str, int]


def label(typed: str) -> str:
    """Short enough for a column's head: the last part of the folder's name."""
    return typed.replace("\\", "/").rstrip("/").rpartition("/")[2] or typed


def home(app: AppSettings) -> Path:
    """Where adapters go that have a name alone."""
    return app.adapters_folder.expanduser().absolute()


def unavailable() -> str | None:
    """Why none can be used here, in words that go on from "it ..."; None where they can."""
    return "needs the package peft: pip install peft" if find_spec("peft") is None else None


def found(typed: str) -> Adapter:
    """The adapter in a folder, or of a name. Raises BadInput where there is none that can be used."""
    if not typed.strip():
        raise BadInput("No adapter was named behind the +.", _NEEDED)
    folder = _folder(typed.strip())
    try:
        state = identity(Model(label(typed), "folder", folder))
        held = read(folder, state)
    except ModelError as error:
        raise BadInput(f"The adapter {shown(label(typed))} cannot be read. {error.what}", error.advice) from error
    _check_kind(held.config, label(typed))
    return Adapter(label(typed), folder, state)


def _folder(typed: str) -> Path:
    """Where it lies: a path, or a name in this folder or where adapters are kept. Raises BadInput."""
    kept = home(app_settings())
    alone = not re.search(r"[/\\]", typed) and typed not in (".", "..")
    # os.path takes any text for a path, one that is too long or names no user too: such a one is not there.
    tried = [os.path.expanduser(typed), *([str(kept / typed)] if alone else [])]
    for path in tried:
        if os.path.isfile(os.path.join(path, CONFIG)):
            return Path(path).absolute()
    if any(map(os.path.isdir, tried)):
        raise BadInput(f"The folder {shown(label(typed))} holds no adapter.", _NEEDED)
    names = [it.name for it in kept.iterdir() if os.path.isfile(it / CONFIG)] if os.path.isdir(kept) else []
    near = get_close_matches(typed, sorted(names), n=3)
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    raise BadInput(f"There is no adapter {shown(typed)}.", hint + _NEEDED)


def read(folder: Path, state: str) -> Held:
    """What is in the files of an adapter, whose state is `state`. Raises ModelError for damaged or foreign ones."""
    return _read(str(folder), state)


@lru_cache(maxsize=64)
def _read(folder: str, _state: str) -> Held:
    where = Path(folder)
    if not (where / WEIGHTS).is_file():
        other = next((it.name for it in where.glob("adapter_model.*")), None)
        said = f"Its weights are {other}, which may run code when it is read." if other else "It has no weights."
        raise ModelError(said, f"Save it as {WEIGHTS}.")
    config = read_json(where / CONFIG, where.name)
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    nbytes: dict[str, int] = {}
    for name, info in read_header(where / WEIGHTS, where.name).items():
        matrix = _MATRIX.fullmatch(name) or _VECTOR.fullmatch(name)
        if matrix is None or not name.startswith(_PREFIX):
            said = f"It holds {name[:100]}, which is no matrix of LoRA."
            raise ModelError(said, "Adapters of other kinds are not read.")
        module = matrix["module"].removeprefix(_PREFIX)
        sides.setdefault(module, {})[matrix.groupdict().get("which") or "magnitude"] = info.shape
        nbytes[module] = nbytes.get(module, 0) + 4 * math.prod(info.shape)
    modules = {}
    for module, held in sides.items():
        a, b = held.get("A", ()), held.get("B", ())
        if not (len(a) == len(b) == 2 and a[0] == b[1]):
            raise ModelError(f"Its two matrices for {module[:100]} do not fit each other.", "Save it again.")
        modules[module] = (b[0], a[1])
    if not modules:
        raise ModelError("It holds no matrices.", "Train it again.")
    return Held(config, modules, nbytes)


def _check_kind(config: dict[str, Any], name: str) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"The adapter {shown(name)} is of the kind {str(kind)[:40]}.", "Adapters of LoRA are read.")
    if more := next((it for it in _MORE if config.get(it)), None):
        raise BadInput(
            f"The adapter {shown(name)} changes more than layers beside which it lies ({more}).",
            "Merge it by peft, and give the merged folder.",
        )
    began = str(config.get("init_lora_weights", "")).lower()
    if began.startswith(_CHANGES_BASE):
        raise BadInput(
            f"The adapter {shown(name)} began with {began[:40]}, which changes the frozen weights too.",
            "Save it as plain LoRA: peft's save_pretrained with path_initial_model_for_weight_conversion.",
        )


def refusal(adapter: Adapter, checkpoint: Checkpoint) -> str | None:
    """Why an adapter does not fit a model, in words that go on from "it ..."; None where it does.

    Raises ModelError where transformers cannot build the model.
    """
    held = read(adapter.folder, adapter.identity)
    there = {weight.name: weight for weight in layout(checkpoint, "float32").weights}
    for module, shape in held.modules.items():
        weight = there.get(f"{module}.weight")
        if weight is None:
            return f"has no layer {module[:100]}, beside which the adapter {adapter.name} lies: take the model it is of"
        if weight.shape != shape:
            return (
                f"has {_times(weight)} weights in {module[:100]}, and the adapter {adapter.name} is made for "
                f"{shape[0]} x {shape[1]}: take the model it is of"
            )
    return None


def _times(weight: Weight) -> str:
    return " x ".join(map(str, weight.shape))


def nbytes(adapter: Adapter) -> dict[str, int]:
    """What its matrices take in memory by the layer beside which they lie."""
    return read(adapter.folder, adapter.identity).nbytes


def notes(adapter: Adapter, model: Model, base: str) -> tuple[str, ...]:
    """What is to be known of a column with an adapter: that it is another model, and where it was trained on something
    else than `base` of `model`, as far as that is written down."""
    said = [f"the adapter {adapter.name} lies beside its weights: what it learnt is part of each distance"]
    try:
        told = read_json(adapter.folder / ASKED, adapter.name)
    except (QuantlabError, OSError):
        told = {}
    settings = told.get("settings")
    trained = settings.get("precision") if isinstance(settings, dict) else None
    if isinstance(told.get("identity"), str) and told["identity"] != model.identity and model.identity:
        said.append(f"the adapter was trained on {shown(str(told.get('model')))}, and these are other files")
    if isinstance(trained, str) and trained != base:
        said.append(f"the adapter was trained on {trained[:40]}, and lies on {base} here")
    return tuple(said)
