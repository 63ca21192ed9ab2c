"""What both kinds of export share: the schema's name, the model, and the figures of a load."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from quantlab.errors import BadInput
from quantlab.export import codec
from quantlab.records import Load, LoadOrigin, Model, ModelKind, QualityRun, Run

R = TypeVar("R", Run, QualityRun)

KINDS = ("comparison", "quality")
#: The newest version of each schema, which is the one written.
VERSIONS = {"comparison": 1, "quality": 1}
_TITLES = {"comparison": "a comparison", "quality": "a quality run"}
_SCHEMA = re.compile(r"quantlab\.(\w{1,40})/(\d{1,9})", re.ASCII)
_MODEL = ("name", "kind", "revision", "meaningless", "caution")


def schema(kind: str) -> str:
    return f"quantlab.{kind}/{VERSIONS[kind]}"


def kind_of(data: Any) -> str:
    """Which kind of export it is. Raises BadInput for what is none of ours, or of a version that is not known yet."""
    if not isinstance(data, dict) or "schema" not in data:
        raise BadInput(
            "This is no export of quantlab: the field schema is missing.",
            "Choose a file that was written by an export to JSON.",
        )
    found = _SCHEMA.fullmatch(data["schema"]) if isinstance(data["schema"], str) else None
    if found is None or found[1] not in KINDS:
        raise codec.wrong("schema", f"one of {', '.join(map(schema, KINDS))} is needed")
    kind, version = found[1], int(found[2])
    if version > VERSIONS[kind]:
        raise BadInput(
            f"schema: the file is of version {version}, and this quantlab knows versions up to {VERSIONS[kind]}.",
            "Update quantlab to open it.",
        )
    if version < 1:
        raise codec.wrong("schema", f"there is no version {version}")
    return kind


def checked(data: Any, kind: str) -> Mapping[str, Any]:
    """`data`, which is an export of that kind. Raises BadInput."""
    if (found := kind_of(data)) != kind:
        raise BadInput(f"schema: this is {_TITLES[found]}, not {_TITLES[kind]}.", "Open it where that kind belongs.")
    return data


def model_data(model: Model) -> dict[str, Any]:
    """A model without its place on this disk: of a path only the last name is told."""
    name = codec.last_name(model.name) if model.named_by_path else model.name
    told = {"meaningless": model.meaningless, "caution": model.caution}
    return {"name": name, "kind": model.kind, "revision": model.revision} | told


def model_from(data: Any, where: str = "model") -> Model:
    """A model that lies nowhere: `folder` is None."""
    data = codec.obj(data, where, _MODEL)
    return codec.members(
        Model,
        data,
        where,
        kind=codec.member(data, "kind", ModelKind, where),
        folder=None,
        gguf=None,
        identity="",
        origin=None,
    )


def load_names(notes: str) -> dict[str, str]:
    """Field of `Load` -> key in a run, where `notes` names the load's notes."""
    return {field.name: notes if field.name == "notes" else field.name for field in fields(Load)}


def load_data(load: Load | None, notes: str) -> dict[str, Any]:
    """The figures of a load as keys of its run: null, `{}` and `[]` where nothing was loaded."""
    if load is not None:
        return codec.parts(load, load_names(notes))
    return dict.fromkeys(load_names(notes).values()) | {"details": {}, notes: []}


def load_from(data: Mapping[str, Any], where: str, notes: str) -> Load | None:
    """The load of a run; None where `load_origin` is null, and then every figure of it must be."""
    names = load_names(notes)
    if codec.member(data, "load_origin", LoadOrigin | None, where) is not None:
        return codec.members(Load, data, where, names)
    nothing_else(data, [key for key in names.values() if key != "load_origin"], "load_origin", where)
    return None


def nothing_else(data: Mapping[str, Any], keys: list[str], sign: str, where: str) -> None:
    """Raises BadInput where one of `keys` has a figure although `sign` says that there are none, or is missing."""
    for key in keys:
        if codec.member(data, key, Any, where) not in (None, [], {}):
            raise codec.wrong(f"{where}.{key}", f"there is a figure, though {sign} is null")


def runs_from(data: Mapping[str, Any], read: Callable[[Any, str], R]) -> tuple[R, ...]:
    """The runs, each by `read(data, where)`, no precision twice."""
    listed = codec.member(data, "runs", Any, "")
    if not isinstance(listed, list):
        raise codec.wrong("runs", "a list is needed")
    runs = tuple(read(run, f"runs[{i}]") for i, run in enumerate(listed))
    seen: set[str] = set()
    for i, run in enumerate(runs):
        if run.precision in seen:
            raise codec.wrong(f"runs[{i}].precision", "this precision is there twice")
        seen.add(run.precision)
    return runs
