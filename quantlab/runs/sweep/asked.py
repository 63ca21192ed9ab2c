"""A sweep's YAML file, read and checked before anything loads. What is wrong is told by its line and its field."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantlab import models
from quantlab.errors import BadInput, shown, unknown
from quantlab.fidelity import tasks, texts
from quantlab.methods import at_kv_cache, precision, published, served
from quantlab.models import source
from quantlab.models.gguf import files
from quantlab.models.hub.errors import OutOfReach
from quantlab.records import Placement
from quantlab.records.swept import SweepAsked
from quantlab.runs.sweep.faults import ADVICE, Faults, in_words
from quantlab.runtime import placement as placements
from quantlab.runtime.kv_cache import split
from quantlab.settings import app_settings

#: More is no list that a person or a small program wrote.
MAX_BYTES = 10**6
#: A field and its list. Deeper ones take the parser the square of their depth in time.
_DEPTH = 2
#: A sweep of so many cells would take years, and was not meant.
MAX_CELLS = 100_000
#: Fields that are lists of names, each of which may be there once.
_LISTS = ("models", "precisions", "texts", "tasks", "prompts")


#: libyaml's where there is one: it is many times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _File(BaseModel):
    """The fields of the file with their types, as `SweepAsked` says what they mean."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[str] = Field(min_length=1)
    precisions: list[str] = Field(min_length=1)
    texts: list[str] = []
    tasks: list[str] = []
    prompts: list[str] = []
    windows: int = Field(default=SweepAsked.windows, ge=1)
    max_new_tokens: int = Field(default=SweepAsked.max_new_tokens, ge=1)
    layers: bool = SweepAsked.layers
    noise_floor: bool = SweepAsked.noise_floor
    reference: str | None = None
    device: str = SweepAsked.device


def read(file: Path) -> SweepAsked:
    """The sweep of a file. Raises BadInput with all that cannot be, each by its line and field."""
    return _read(file, look_up=False)[0]


def looked_up(file: Path) -> tuple[SweepAsked, tuple[str, ...]]:
    """The same, with the description of every model and checkpoint looked at, for which the Hub may be asked; and
    what could not be looked at, in words. No weights are fetched or loaded."""
    return _read(file, look_up=True)


def _read(file: Path, look_up: bool) -> tuple[SweepAsked, tuple[str, ...]]:
    content = _content(file)
    root = _composed(file, content)
    faults = Faults(file, root)
    if not isinstance(root, yaml.MappingNode):
        faults.add((), "a sweep is made of fields, such as models and precisions.")
        faults.check()
    _check_keys(root, faults)
    fields = _typed(file, content, faults)
    _check(fields, faults)
    left = tuple(_left_out(fields, faults)) if look_up else ()
    faults.check()
    return SweepAsked(file, **fields), left


def _typed(file: Path, content: str, faults: Faults) -> dict[str, Any]:
    """The fields, lists as tuples. Of a field with a fault the default, of a list what is right in it."""
    try:
        given = yaml.load(content, _LOADER)  # noqa: S506 - a safe one
        known = {name: value for name, value in given.items() if name in _File.model_fields}
    except (yaml.YAMLError, ValueError) as error:  # a date or a number that YAML takes for one and Python does not
        faults.check()
        raise BadInput(f"{file.name} cannot be read: {error}.", "Put quotes around that value.") from None
    wrong: set[str] = set()
    try:
        _File.model_validate(known)
    except ValidationError as error:
        for it in error.errors():
            faults.add(it["loc"], in_words(it))
            wrong.add(str(it["loc"][0]))
    fields = _File.model_construct().model_dump() | known
    for name in wrong:
        fields[name] = _right_part(known.get(name), name)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def _right_part(given: object, name: str) -> object:
    """What can be looked at of a field that is wrong: the texts of a list, which keep their places; else nothing."""
    if name in _LISTS:
        return tuple(it if isinstance(it, str) else None for it in given) if isinstance(given, list) else None
    return None


def _content(file: Path) -> str:
    try:
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise BadInput(f"{file} is larger than {MAX_BYTES / 1e6:.0f} MB.", "Part the sweep into several.")
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8: byte {error.start:,} cannot be read.", "Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"The sweep {shown(str(file))} cannot be read: {told}.", "Name a YAML file.") from error


def _composed(file: Path, content: str) -> yaml.Node:
    """The file's tree with its lines. References within it are refused: a few lines of them make billions of cells."""
    depth = 0
    try:
        for event in yaml.parse(content, _LOADER):
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise BadInput(f"{file.name}, line {line}: references (*name) are not read.", "Write it out.")
            if depth > _DEPTH:
                raise BadInput(f"{file.name}, line {line}: lists within lists are not read.", ADVICE)
        root = yaml.compose(content, _LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{file.name}, line {line}: this is no YAML ({error.problem}).", ADVICE) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{file.name} is no YAML ({type(error).__name__}).", ADVICE) from None
    if root is None:
        raise BadInput(f"{file.name} is empty.", ADVICE)
    return root


def _check_keys(root: yaml.MappingNode, faults: Faults) -> None:
    """A field that is unknown, or there twice: YAML would take the last and say nothing."""
    seen: set[str] = set()
    for key, _ in root.value:
        name = key.value if isinstance(key.value, str) else "?"
        if name not in _File.model_fields:
            what = unknown("field", name, _File.model_fields)
            faults.add((name,), what.what, what.advice)
        elif name in seen:
            faults.add((name,), f"the field is there again on line {key.start_mark.line + 1}.", "Leave one.")
        seen.add(name)


def _check(fields: Mapping[str, Any], faults: Faults) -> None:
    """What the fields say, each alone and together. A list that is None, or holds a None, has its fault already."""
    for field in _LISTS:
        seen: set[str] = set()
        for at, name in enumerate(fields[field] or ()):
            if name is None:
                continue
            if not name.strip():
                faults.add((field, at), "it is empty.", "Fill it, or take the line out.")
                continue
            if name in seen:
                faults.add((field, at), f"{shown(name)} is there twice.", "Leave one.")
                continue
            seen.add(name)
            with faults.of((field, at)):
                _CHECKS[field](name)
    with faults.of(("device",)):
        if fields["device"] not in (None, "auto"):
            placements.resolve(Placement(fields["device"]))
    _check_together(fields, faults)


def _check_together(fields: Mapping[str, Any], faults: Faults) -> None:
    texts_asked, prompts, precisions = fields["texts"], fields["prompts"], fields["precisions"]
    called = [Path(name or "").name for name in texts_asked or ()]
    for at, (name, whole) in enumerate(zip(called, texts_asked or (), strict=True)):
        if name in called[:at] and whole is not None and whole not in texts_asked[:at]:
            faults.add(("texts", at), f"two texts are called {shown(name)}.", "Rename one: the report names them so.")
    if texts_asked == () and prompts == ():
        faults.add(("texts",), "there is no text to read and no prompt to answer.", "Add texts: [english].")
    elif fields["tasks"] and texts_asked == ():
        faults.add(("tasks",), "tasks are answered beside a text, and there is none.", "Add texts: [english].")
    reference = fields["reference"]
    if isinstance(reference, str) and None not in (precisions or (None,)) and reference not in precisions:
        faults.add(("reference",), f"{shown(reference)} is not among the precisions.", "Add it there.")
    parts = [len(it or ()) for it in (fields["models"], precisions, (*(texts_asked or ()), *(prompts or ())))]
    if (count := math.prod(parts)) > MAX_CELLS:
        faults.add(("models",), f"that makes {count:,} cells, and at most {MAX_CELLS:,} are swept.", "Part it.")


def _left_out(fields: Mapping[str, Any], faults: Faults) -> Iterator[str]:
    """Look at the description of every model and checkpoint; yield which could not be, and why."""
    for field, look in (("models", _look_at_model), ("precisions", _look_at_published)):
        for at, name in enumerate(fields[field] or ()):
            if name is None or faults.has((field, at)):
                continue
            with faults.of((field, at)):
                try:
                    look(name)
                except OutOfReach as error:
                    if (near := _near(name)) is not None:
                        raise BadInput(f"there is no model {shown(name)} here.", f"Did you mean {near}?") from error
                    yield f"{shown(name)[1:-1]} was not looked up. {error.what}"


def _near(name: str) -> str | None:
    """The model that needs no network whose name this one is nearly."""
    known = (source.SMOLLM2, *source.offline_names())
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=0.75)), None) if "/" not in name else None


def _look_at_model(name: str) -> None:
    base, _, pick = (part.strip() for part in name.partition(source.SEPARATOR))
    # Of a GGUF file its header tells enough: `peek_main` would also write down what is in it.
    if models.peek(base, app_settings(), pick or None).stored_as != files.STORED_AS and pick:
        models.peek_main(name, app_settings())  # which says that there is nothing to pick


def _look_at_published(name: str) -> None:
    bare, _ = split(name)
    if published.is_published(bare) and not served.is_served(bare):
        found = published.read(bare)
        published.precision_of(found, found.label, models.peek(found.name, app_settings(), found.pick))


def _check_model(name: str) -> None:
    source.parse(name.partition(source.SEPARATOR)[0], app_settings())


def _check_precision(name: str) -> None:
    bare, kv_cache = split(name)
    if published.is_published(bare):
        published.check_there(published.read(bare), app_settings())
    else:
        at_kv_cache(precision(bare), kv_cache)


def _check_task(name: str) -> None:
    tasks.check([name], bundled_only=app_settings().public)


_CHECKS: dict[str, Callable[[str], Any]] = {
    "models": _check_model,
    "precisions": _check_precision,
    "texts": texts.text,
    "tasks": _check_task,
    "prompts": str.strip,
}


def folder_of(asked: SweepAsked, named: str | None) -> Path:
    """Where a sweep keeps its history and its reports: what was named, else beside the file."""
    return Path(named or os.path.splitext(asked.file)[0] + ".sweep").expanduser().absolute()
