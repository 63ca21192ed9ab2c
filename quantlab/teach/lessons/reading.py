"""Lessons as they lie in `assets/lessons/`: settings in TOML between two lines of `+++`, then a heading a step."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.records.lessons import STEPS, Lesson, Question
from quantlab.settings import ASSETS

FOLDER = ASSETS / "lessons"
#: The page for whoever teaches them.
TEACHER = "teacher.md"
_PARTS = (*STEPS, "answer")
_FIGURE = re.compile(r"\{(\w+)\}")


@cache
def lessons(folder: Path = FOLDER) -> tuple[Lesson, ...]:
    """All lessons, by their numbers. Raises ValueError for a file that is none: they are ours."""
    return tuple(
        sorted((parsed(path.read_text("utf-8")) for path in folder.glob("[0-9]*.md")), key=lambda it: it.number)
    )


def lesson(number: int) -> Lesson:
    """The lesson of that number. Raises BadInput where there is none."""
    for found in lessons():
        if found.number == number:
            return found
    raise BadInput(f"There is no lesson {number}.", f"They are numbered from 1 to {len(lessons())}.")


def parsed(text: str) -> Lesson:
    """A lesson from its file's text. Raises ValueError where a part is missing or is not known."""
    found = re.fullmatch(r"\+\+\+\n(.*?)\n\+\+\+\n(.*)", text, re.DOTALL)
    if found is None:
        raise ValueError("a lesson begins with its settings between two lines of +++")
    settings, parts = tomllib.loads(found[1]), _parts(found[2])
    number = settings["number"]
    question = _question(number, settings["question"])
    return Lesson(
        number, settings["title"], settings["idea"], question, {step: parts[step] for step in STEPS}, parts["answer"]
    )


def _parts(text: str) -> Mapping[str, str]:
    """The text under each heading of the second level, by the heading's small letters."""
    pieces = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    found = {name.lower(): body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    if pieces[0].strip() or tuple(found) != _PARTS:
        raise ValueError(f"a lesson has the headings {', '.join(_PARTS)}, in this order, not {', '.join(found)}")
    return found


def _question(number: int, given: Mapping[str, Any]) -> Question:
    known = {field.name for field in fields(Question)}
    if unknown := set(given) - known:
        raise ValueError(f"a question has no {sorted(unknown)[0]}")
    made = Question(**{**given, "id": f"lesson-{number}/{given['id']}", "choices": tuple(given.get("choices", ()))})
    if made.kind == "choice" and len(made.choices) < 2:
        raise ValueError("a choice has two answers or more")
    if made.kind == "number" and not made.low < made.high:
        raise ValueError("a number lies between low and high")
    return made


def figures(text: str) -> frozenset[str]:
    """The names of the computed figures that a text has room for."""
    return frozenset(_FIGURE.findall(text))


def asked(question: Question, facts: Mapping[str, str]) -> str:
    """What is asked, with its figures: plain text."""
    return _FIGURE.sub(lambda found: facts[found[1]], question.ask)


def filled(text: str, facts: Mapping[str, str]) -> str:
    """A text with its figures. What Markdown would take for markup in a figure is shown as it is.

    Raises KeyError for a figure that is not there.
    """
    return _FIGURE.sub(lambda found: re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", facts[found[1]]), text)
