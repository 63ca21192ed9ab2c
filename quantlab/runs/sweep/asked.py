"""A sweep's YAML file, read and checked before anything loads. What is wrong is told by its line and its field."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantlab.errors import BadInput, QuantlabError, shown, unknown
from quantlab.fidelity import tasks, texts
from quantlab.methods import at_kv_cache, precision, published
from quantlab.models.facts import kind_alone
from quantlab.records.swept import SweepAsked
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
_ADVICE = "docs/scale.md shows a whole file."


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


Loc = tuple[int | str, ...]


class _Lines:
    """Which line of the file a field is on."""

    def __init__(self, root: yaml.Node) -> None:
        self._root = root

    def of(self, loc: Loc) -> int:
        """The line, from 1, of the field or item; of what is missing, where it should be."""
        node, line = self._root, self._root.start_mark.line + 1
        for part in loc:
            found = self._below(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line

    @staticmethod
    def _below(node: yaml.Node, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
        if isinstance(node, yaml.MappingNode):
            return next(((key, value) for key, value in node.value if key.value == part), None)
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return node.value[part], node.value[part]
        return None


def read(file: Path) -> SweepAsked:
    """The sweep of a file. Raises BadInput, with line and field, for whatever cannot be."""
    content = _content(file)
    root = _composed(file, content)
    lines = _Lines(root)

    def wrong(loc: Loc, what: str, advice: str = _ADVICE) -> BadInput:
        name = "".join(f"[{part + 1}]" if isinstance(part, int) else part for part in loc) or "the file"
        return BadInput(f"{file.name}, line {lines.of(loc)}, {shown(name)[1:-1]}: {what}", advice)

    if not isinstance(root, yaml.MappingNode):
        raise wrong((), "a sweep is made of fields, such as models and precisions.")
    _check_keys(root, wrong)
    try:
        found = _File.model_validate(yaml.load(content, _LOADER))  # noqa: S506 - a safe one
    except ValidationError as error:
        first = error.errors()[0]
        raise wrong(first["loc"], f"{first['msg']}.") from None
    except ValueError as error:  # a date or a number that YAML takes for one and Python does not
        raise BadInput(f"{file.name} cannot be read: {error}.", "Put quotes around that value.") from None
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.model_dump().items()}
    asked = SweepAsked(file, **fields)
    _check(asked, wrong)
    return asked


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
                raise BadInput(f"{file.name}, line {line}: lists within lists are not read.", _ADVICE)
        root = yaml.compose(content, _LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{file.name}, line {line}: this is no YAML ({error.problem}).", _ADVICE) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{file.name} is no YAML ({type(error).__name__}).", _ADVICE) from None
    if root is None:
        raise BadInput(f"{file.name} is empty.", _ADVICE)
    return root


Wrong = Callable[..., BadInput]


def _check_keys(root: yaml.MappingNode, wrong: Wrong) -> None:
    """Raises BadInput for a field that is unknown, or there twice: YAML would take the last and say nothing."""
    seen: set[str] = set()
    for key, _ in root.value:
        name = key.value if isinstance(key.value, str) else "?"
        if name not in _File.model_fields:
            what = unknown("field", name, _File.model_fields)
            raise BadInput(f"{wrong((name,), what.what)}".removesuffix(f" {_ADVICE}"), what.advice)
        if name in seen:
            line = key.start_mark.line + 1
            raise BadInput(f"{wrong((name,), f'the field is there again on line {line}.').what}", "Leave one.")
        seen.add(name)


def _check(asked: SweepAsked, wrong: Wrong) -> None:
    for field in _LISTS:
        seen: set[str] = set()
        for at, name in enumerate(getattr(asked, field)):
            if not name.strip():
                raise wrong((field, at), "it is empty.", "Fill it, or take the line out.")
            if name in seen:
                raise wrong((field, at), f"{shown(name)} is there twice.", "Leave one.")
            seen.add(name)
            with _placed(wrong, (field, at)):
                _CHECKS[field](name)
    called = [Path(name).name for name in asked.texts]
    for at, name in enumerate(called):
        if name in called[:at]:
            raise wrong(("texts", at), f"two texts are called {shown(name)}.", "Rename one: the report names them so.")
    if not asked.texts and not asked.prompts:
        raise wrong(("texts",), "there is no text to read and no prompt to answer.", "Add texts: [english].")
    if asked.tasks and not asked.texts:
        raise wrong(("tasks",), "tasks are answered beside a text, and there is none.", "Add texts: [english].")
    if asked.reference is not None and asked.reference not in asked.precisions:
        raise wrong(("reference",), f"{shown(asked.reference)} is not among the precisions.", "Add it there.")
    count = len(asked.models) * len(asked.precisions) * (len(asked.texts) + len(asked.prompts))
    if count > MAX_CELLS:
        raise wrong(("models",), f"that makes {count:,} cells, and at most {MAX_CELLS:,} are swept.", "Part it.")


@contextmanager
def _placed(wrong: Wrong, loc: Loc) -> Iterator[None]:
    """Errors in the block, told with the place in the file."""
    try:
        yield
    except QuantlabError as error:
        raise wrong(loc, error.what, error.advice) from error


def _check_model(name: str) -> None:
    if kind_alone(name, app_settings()).kind is None:
        raise BadInput(f"there is no model {shown(name)}.", "Name smollm2, demo, a folder, a .gguf file or a Hub id.")


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
