"""Methods of other packages, which name them in the entry-point group `quantlab.methods`; CONTRIBUTING.md shows how.

They are looked for when a table is first read, not when `quantlab.methods` is imported: the package that is looked for
imports from there itself. What cannot be taken is left out with one line of warning.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from quantlab.errors import BadInput
from quantlab.methods.base import Method
from quantlab.records import Precision

T = TypeVar("T")
GROUP = "quantlab.methods"
#: What can be ticked, typed after `--precisions` and be part of a file's name, and is never taken for a path.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
log = logging.getLogger(__name__)


class Table(Mapping[str, T]):
    """A mapping that is made when it is first read."""

    def __init__(self, make: Callable[[], Mapping[str, T]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[str, T]:
        return dict(self._make())

    def __getitem__(self, key: str) -> T:
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._made!r})"


def installed(own: Sequence[Method]) -> tuple[Method, ...]:
    """The methods of all installed packages, in the order of their entry points' names; none that cannot be taken."""
    taken: list[Method] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda it: (it.name, it.value)):
        try:
            found = entry.load()
            reason = fault(found, [*own, *taken])
        except (Exception, SystemExit) as error:
            reason = " ".join(f"it broke with {type(error).__name__}: {error}".split())[:300]
        if reason is None:
            taken.append(found)
        else:
            log.warning("The method %s of %s is left out: %s.", entry.name, _origin(entry), reason)
    return tuple(taken)


def fault(found: Any, others: Sequence[Method]) -> str | None:
    """Why this cannot be taken beside `others`, in words; None where it can."""
    if not isinstance(found, Method):
        return "it is no instance of quantlab.methods.base.Method"
    name, title, precisions = (getattr(found, attribute, None) for attribute in ("name", "title", "precisions"))
    if not _named(name) or not isinstance(title, str) or not title.strip():
        return "it needs a name of small letters, digits, - and _, and a title"
    if name in {other.name for other in others}:
        return f"there is a method {name} already"
    if not isinstance(precisions, tuple) or not precisions or not all(isinstance(it, Precision) for it in precisions):
        return "its precisions are no tuple of quantlab.records.Precision with at least one in it"
    return next(filter(None, (_fault_of(found, it, others) for it in precisions)), None) or _tried(found)


def _fault_of(method: Method, chosen: Precision, others: Sequence[Method]) -> str | None:
    if not _named(chosen.name):
        return f"its precision {chosen.name!r} needs a name of small letters, digits, - and _"
    if chosen.method != method.name:
        return f"its precision {chosen.name} says that it is one of {chosen.method}"
    if [it.name for it in method.precisions].count(chosen.name) > 1 or any(_reads(it, chosen.name) for it in others):
        return f"there is a precision {chosen.name} already"
    if not isinstance(chosen.bits, int | float) or not 0 < chosen.bits <= 32:
        return f"its precision {chosen.name} says that it has {chosen.bits!r} bits"
    if not isinstance(chosen.summary, str) or not chosen.summary.strip():
        return f"its precision {chosen.name} has no summary"
    return None


def _tried(method: Method) -> str | None:
    """What is asked of every method whenever precisions are listed, asked once."""
    for chosen in method.precisions:
        if method.parse(chosen.name) != chosen or method.parse("") is not None:
            return f"its parse does not know {chosen.name}, or knows every name"
        method.calibrated(chosen)
    reason = method.unavailable("cpu")
    return None if reason is None or isinstance(reason, str) else "its unavailable gives neither words nor None"


def _reads(method: Method, name: str) -> bool:
    try:
        return method.parse(name) is not None
    except BadInput:  # it is its name, with an option that cannot be
        return True


def _named(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _origin(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else f"the package {entry.dist.name}"
