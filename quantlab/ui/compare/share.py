"""A choice as the query of a link, and back. What comes from outside is checked field by field, or else ignored."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from quantlab.methods import split_adapter
from quantlab.methods.calibration import MIN_LENGTH
from quantlab.methods.published import SEPARATOR, is_published, labels
from quantlab.runtime.kv_cache import split
from quantlab.settings import AppSettings
from quantlab.ui.compare.form import COMPUTE_DTYPES, FIELDS, KERNEL_NAME, MAX_LENGTH, MAX_SAMPLES, Choice

#: Longer prompts make links that mail programs and servers cut.
MAX_LINK_PROMPT = 1_500
PRECISION_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,31}", re.IGNORECASE)
HUB_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}(@[\w.-]{1,64})?", re.ASCII)
#: What is picked of a published checkpoint: a file of its repository, or a precision.
_PICK = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96}){0,3}", re.ASCII)
_MAX_NAME = 300
_SWITCHES = {"1": True, "0": False}


def to_query(choice: Choice) -> str:
    """The query that restores a choice: model, precisions and prompt, and those settings that are not the default.

    A prompt over `MAX_LINK_PROMPT` characters is left out, and so is whatever lies on this machine: a model's folder,
    a published checkpoint's, a calibration text. Raises BadInput for a checkpoint without a name.
    """
    default = Choice()
    entries = {}
    if _link_model(choice.model):
        entries["model"] = choice.model
    entries["precisions"] = ",".join(name for name in choice.precisions if _link_precision(name))
    if len(choice.prompt) <= MAX_LINK_PROMPT:
        entries["prompt"] = choice.prompt
    hidden = {"calibration_file", "fresh", *(("reference",) if choice.reference in _local_columns(choice) else ())}
    for name in (field for field in FIELDS[3:] if field not in hidden):
        value = getattr(choice, name)
        if value != getattr(default, name):
            entries[name] = str(int(value)) if isinstance(value, bool) else str(value)
    return urlencode(entries)


def _local_columns(choice: Choice) -> set[str]:
    """The columns of checkpoints that lie on this machine."""
    return {column for name, column in labels(choice.precisions).items() if not _link_precision(name)}


def left_out(choice: Choice) -> tuple[str, ...]:
    """What of a choice `to_query` leaves out, in words."""
    local = [name for name in choice.precisions if not _link_precision(name)]
    parts = (
        ("the model, a folder of this machine", bool(choice.model) and not _link_model(choice.model)),
        (f"{', '.join(local)}, on this machine alone", bool(local)),
        ("the prompt, too long for a link", len(choice.prompt) > MAX_LINK_PROMPT),
        ("your calibration text", choice.calibration_file is not None),
    )
    return tuple(words for words, is_left_out in parts if is_left_out)


def from_query(query: Mapping[str, str], default: Choice, app: AppSettings) -> Choice:
    """`default` with every field that the query names and that holds a valid value."""
    found: dict[str, Any] = {}
    for name, read in _readers(app).items():
        text = query.get(name)
        if isinstance(text, str):
            value = read(text)
            if value is not None:
                found[name] = value
    return replace(default, **found)


def refused(query: Mapping[str, str], app: AppSettings) -> tuple[str, ...]:
    """The fields that a query names and whose values `from_query` does not take."""
    readers = _readers(app)
    return tuple(
        name for name in FIELDS if name in query and (name not in readers or readers[name](query[name]) is None)
    )


def _readers(app: AppSettings) -> dict[str, Callable[[str], object]]:
    """For each field a reader that gives None for what is not valid."""
    return {
        "model": lambda text: _model(text, app),
        "precisions": lambda text: _precisions(text, app),
        "prompt": lambda text: text if 0 < len(text) <= MAX_LINK_PROMPT and "\0" not in text else None,
        "max_new_tokens": lambda text: _integer(text, 1, app.max_new_tokens),
        "sample": _SWITCHES.get,
        "temperature": lambda text: _number(text, 0.1, 2.0),
        "top_k": lambda text: _integer(text, 0, 200),
        "top_p": lambda text: _number(text, 0.05, 1.0),
        "seed": lambda text: _integer(text, 0, 2**31 - 1),
        "reference": lambda text: text if PRECISION_NAME.fullmatch(text) else None,
        "compute_dtype": lambda text: text if text in COMPUTE_DTYPES else None,
        "raw": _SWITCHES.get,
        "race": _SWITCHES.get,
        "calibration_samples": lambda text: _integer(text, 1, MAX_SAMPLES),
        "calibration_length": lambda text: _integer(text, MIN_LENGTH, MAX_LENGTH),
        "kernel": lambda text: text if KERNEL_NAME.fullmatch(text) else None,
    }


def _link_model(name: str) -> bool:
    """Whether a model's name means the same on another machine: not a folder."""
    return name in ("demo", "smollm2") or name.startswith("shape:") or bool(HUB_ID.fullmatch(name) and ".." not in name)


def _model(text: str, app: AppSettings) -> str | None:
    if app.public:
        return text if text in app.allowed_models else None
    # A link comes from anybody: it may name a model, but never make this machine read one of its folders.
    return text if _link_model(text) and len(text) < 200 else None


def _link_precision(name: str) -> bool:
    """Whether a precision, or a published checkpoint, means the same on another machine and can stand in a link."""
    base, kv_cache = split(name)
    if split_adapter(base)[1] is not None:
        return False  # it lies on this machine
    if not is_published(name):
        return bool(PRECISION_NAME.fullmatch(name))
    source, separator, pick = base.partition(SEPARATOR)
    picked = not separator or bool(_PICK.fullmatch(pick) and ".." not in pick)
    typed = kv_cache is None or bool(PRECISION_NAME.fullmatch(kv_cache))
    return len(name) <= _MAX_NAME and picked and typed and "," not in name and _link_model(source)


def _precisions(text: str, app: AppSettings) -> tuple[str, ...] | None:
    if len(text) > (_MAX_NAME + 1) * app.max_columns:
        return None
    valid = (name for name in dict.fromkeys(text.split(",")) if _link_precision(name))
    names = tuple(name for name in valid if not (app.public and is_published(name)))[: app.max_columns]
    return names or None


def _integer(text: str, least: int, most: int) -> int | None:
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII):
        return None
    value = int(text)
    return value if least <= value <= most else None


def _number(text: str, least: float, most: float) -> float | None:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII):
        return None
    value = float(text)
    return value if math.isfinite(value) and least <= value <= most else None
