"""What is wrong in a sweep's file: all of it at once, each by its line and field, in words of our own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from quantlab.errors import BadInput, QuantlabError, shown
from quantlab.records import units

ADVICE = "docs/scale.md shows a whole file."
#: More are counted, not told.
MOST_TOLD = 20

#: Where a fault is: a field, and of a list the number of the item, from 0.
Loc = tuple[int | str, ...]


class Faults:
    """What was found wrong in one file. Nothing is raised before all is looked at."""

    def __init__(self, file: Path, root: yaml.Node) -> None:
        self._file, self._root = file, root
        self._found: list[tuple[Loc, str, str]] = []

    def add(self, loc: Loc, what: str, advice: str = ADVICE) -> None:
        self._found.append((loc, what, advice))

    def has(self, loc: Loc) -> bool:
        """Whether a fault was found at that place."""
        return any(it[0] == loc for it in self._found)

    @contextmanager
    def of(self, loc: Loc) -> Iterator[None]:
        """An error in the block is a fault at that place."""
        try:
            yield
        except QuantlabError as error:
            self.add(loc, error.what, error.advice)

    def check(self) -> None:
        """Raises BadInput where anything was found: with its place, what is wrong and what to do."""
        found = sorted(self._found, key=lambda it: self._line(it[0]))
        if len(found) == 1:
            loc, what, advice = found[0]
            raise BadInput(f"{self._file.name}, {self._place(loc)}: {what}", advice)
        if found:
            told = [f"{self._place(loc)}: {what} {advice}".strip() for loc, what, advice in found[:MOST_TOLD]]
            more = [f"and {len(found) - MOST_TOLD} more"] * (len(found) > MOST_TOLD)
            head = f"{self._file.name} has {units.counted(len(found), 'fault')}:"
            raise BadInput("\n  ".join((head, *told, *more)))

    def _place(self, loc: Loc) -> str:
        name = "".join(f"[{part + 1}]" if isinstance(part, int) else part for part in loc) or "the file"
        return f"line {self._line(loc)}, {shown(name)[1:-1]}"

    def _line(self, loc: Loc) -> int:
        """The line, from 1, of the field or item; of what is missing, where it should be."""
        node, line = self._root, self._root.start_mark.line + 1
        for part in loc:
            found = _below(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def _below(node: yaml.Node, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def in_words(error: Mapping[str, Any]) -> str:
    """An error of pydantic's as whoever writes the file reads it."""
    given = error.get("input")
    its = "it is empty" if given is None else f"this is {_called(given)}"
    match error["type"]:
        case "missing":
            return "the field is missing."
        case "list_type":
            return f"a list is needed, such as [one, two], and {its}."
        case "string_type":
            quoted = "" if given is None or isinstance(given, list | dict) else "; put quotes around it"
            return f"a text is needed, and {its}{quoted}."
        case "int_type":
            return f"a whole number is needed, and {its}."
        case "bool_type":
            return f"true or false is needed, and {its}."
        case "greater_than_equal":
            return f"{shown(str(given))[1:-1]} is too few: at least {error['ctx']['ge']} is needed."
        case "too_short":
            return "the list is empty, and at least one is needed."
    return f"it cannot be taken, and {its}."


def _called(given: object) -> str:
    """What YAML made of a value, for people."""
    match given:
        case bool():
            return str(given).lower()
        case str():
            return f"the text {shown(given)}"
        case list():
            return "a list"
        case dict():
            return "a field of its own"
        case int() | float():
            return f"the number {shown(str(given))[1:-1]}"
    return f"a {type(given).__name__}"
