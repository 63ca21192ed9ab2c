"""Records as plain data and back, led by the records' own types.

JSON has one `null` for three things: no figure, a figure that is not finite, nothing at all. Which of them is meant
is told by a field's type alone, and a missing field is not null; that is why the types are read here and not by a
library of validation, whose dataclasses take the default for a missing field and pass over an unknown one.
"""

import math
import types
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval

from quantlab.errors import BadInput

R = TypeVar("R")

#: `Record.field` of fields that a schema got after its first version was written. A file without one has its default.
LATER: frozenset[str] = frozenset(
    {"Peak.device", "Run.identity", "Run.metrics", "QualityRun.decode_samples", "QualityRun.identity"}
    | {"QualityRun.metrics", "QualityRun.nonfinite", "QualitySettings.noise_floor"}
    | {"Run.ttft_samples", "Run.decode_samples", "Run.cpu", "QualityRun.cpu"}
    | {"Run.node", "QualityRun.node", "Run.served"}
)
#: `Record.field` that files call by another name than the code: they keep the one they began with.
WRITTEN_AS: Mapping[str, str] = {"LayerError.isolated": "own", "LayerError.propagated": "relative"}
#: By so much a sum of float32 may pass the end of its range.
_ROUNDING = 1e-5
_ADVICE = "The file was not written by quantlab, or it was changed by hand."
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def wrong(where: str, what: str) -> BadInput:
    """The error for a field that is not as it must be."""
    return BadInput(f"{where}: {what}.", _ADVICE)


def plain(value: Any) -> Any:
    """A record, or what is in it, as JSON's types.

    A figure that is not finite becomes None. Of a path only the last name is kept: where a file lay is nobody else's
    business.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return last_name(str(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {written_as(type(value), it.name): plain(getattr(value, it.name)) for it in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def parts(record: Any, renamed: Mapping[str, str] = {}, leave: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a record but `leave`, some of them `renamed`, for an object that holds more than this record."""
    kept = (field.name for field in fields(record) if field.name not in leave)
    return {renamed.get(name, name): plain(getattr(record, name)) for name in kept}


def obj(value: Any, where: str, allowed: Collection[str] | None = None) -> Mapping[str, Any]:
    """`value` as an object with no other keys than `allowed` (None: any). Raises BadInput."""
    if not isinstance(value, dict):
        raise wrong(where, f"an object is needed, not {_describe(value)}")
    for key in value:
        if allowed is not None and key not in allowed:
            raise wrong(_below(where, _short(key)), "there is no such field")
    return value


def member(data: Mapping[str, Any], key: str, kind: Any, where: str) -> Any:
    """The field `key` of an object as a value of type `kind`. Raises BadInput where it is missing or another type."""
    if key not in data:
        raise wrong(_below(where, key), "the field is missing")
    return read(kind, data[key], _below(where, key))


def members(record: type[R], data: Mapping[str, Any], where: str, renamed: Mapping[str, str] = {}, **given: Any) -> R:
    """A record from the fields of an object, some of them `renamed`; those `given` are not looked for."""
    found = dict(given)
    for name in names(record):
        key = renamed.get(name, written_as(record, name))
        if name not in given and (key in data or f"{record.__name__}.{name}" not in LATER):
            found[name] = member(data, key, kind_of(record, name), where)
    return record(**found)


def read(kind: Any, value: Any, where: str) -> Any:
    """A value of type `kind` from JSON's types. Raises BadInput naming the field where it is of another type.

    A null is None where the type has it, else nan where it is a float.
    """
    if kind is Any:
        return value
    origin = get_origin(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return members(kind, obj(value, where, [written_as(kind, name) for name in names(kind)]), where)
    if origin is Annotated:
        return _in_range(read(get_args(kind)[0], value, where), kind.__metadata__, where)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(kind), value, where)
    if origin is tuple:
        return _read_tuple(get_args(kind), value, where)
    if origin is Literal:
        if value not in get_args(kind) or not isinstance(value, str):
            raise wrong(where, f"{' or '.join(get_args(kind))} is needed, not {_describe(value)}")
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = get_args(kind)[1]
        return {whole(key): read(inner, item, _below(where, _short(key))) for key, item in obj(value, where).items()}
    return _read_plain(kind, value, where)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    wanted = next((kind for kind in others if (get_origin(kind) is tuple) == isinstance(value, list)), others[0])
    return read(wanted, value, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple:
    if not isinstance(value, list):
        raise wrong(where, f"a list is needed, not {_describe(value)}")
    if kinds[-1] is Ellipsis:
        return tuple(read(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(kinds):
        raise wrong(where, f"a list of {len(kinds)} is needed, not of {len(value)}")
    return tuple(read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _read_plain(kind: type, value: Any, where: str) -> Any:
    if kind is float:
        return _read_float(value, where)
    if kind is datetime:
        return _read_time(value, where)
    if kind is Path:
        return Path(last_name(read(str, value, where)))
    if type(value) is not kind:  # a bool is an int, and is none here
        raise wrong(where, f"{'a whole number' if kind is int else _KINDS[kind]} is needed, not {_describe(value)}")
    if isinstance(value, int) and kind is int and not 0 <= value < 2**63:  # bytes, counts, ids, seeds: none is more
        raise wrong(where, f"a whole number from 0 up is needed, not {_describe(value)}")
    return whole(value) if isinstance(value, str) else value


def _read_float(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise wrong(where, f"a number is needed, not {_describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise wrong(where, "the number is too large")
    return number


def _in_range(number: float, marks: tuple[Interval, ...], where: str) -> float:
    """A number that one of `records.ranges` allows, but for what rounding makes. NaN is none, and goes through."""
    for mark in marks:
        low: Any = mark.ge  # of whatever can be compared, says its own type
        high: Any = mark.le
        if number < low - _ROUNDING or number > high + _ROUNDING:
            raise wrong(where, f"a number from {low:g} to {high:g} is needed, not {_describe(number)}")
    return number


def _read_time(value: Any, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(read(str, value, where))
        found.utctimetuple()  # a time zone may lead out of the years that there are
    except (ValueError, OverflowError):
        raise wrong(where, f"a date and time is needed, not {_describe(value)}") from None
    if found.tzinfo is None:
        raise wrong(where, "the time lacks its time zone")
    return found


@cache
def _hints(record: type) -> Mapping[str, Any]:
    """Name -> type of a record's fields, with the range of a figure where it has one."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in fields(record)}


def names(record: type) -> tuple[str, ...]:
    """The names of a record's fields."""
    return tuple(_hints(record))


def written_as(record: type, name: str) -> str:
    """What files call a record's field."""
    return WRITTEN_AS.get(f"{record.__name__}.{name}", name)


def kind_of(record: type, name: str) -> Any:
    """The type of a record's field."""
    return _hints(record)[name]


def whole(text: str) -> str:
    """`text` that can be encoded: half of a surrogate pair, which no encoding has, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def last_name(path: str) -> str:
    """The last name of a path of any system."""
    return PureWindowsPath(path).name or "folder"


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _describe(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | int | float):
        return _short(repr(value)) if not isinstance(value, int) or abs(value) < 10**40 else "a huge number"
    return _KINDS.get(type(value), type(value).__name__)


def _short(text: str) -> str:
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
