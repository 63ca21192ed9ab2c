"""Which tasks there are, and whether they can be had, before anything heavy is imported."""

import difflib
import importlib.util
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

from quantlab.errors import BadInput, Unavailable
from quantlab.fidelity.tasks.bundled import BUNDLED

#: As in pyproject.toml, where the reason for the exact version stands.
PACKAGE = "lm-eval==0.4.13"
#: A task's, group's or tag's name in the harness's YAML: on the line of its key, or in the list under it.
_NAMES = re.compile(r"^[\"']?(?:task|group|tag)[\"']?:((?:[ \t]*\n?[ \t]*-[ \t]+\S+)+|.*)", re.MULTILINE)
_NAME = re.compile(r"[^\s\"'\[\],#]+")


def check(names: Collection[str], bundled_only: bool = False) -> None:
    """Raises BadInput for a task that does not exist, Unavailable where the harness is not installed.

    `bundled_only` leaves out the tasks that download their questions. Imports nothing heavy; the names of the
    harness's own tasks are read from its files, once.
    """
    if not names:
        return
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise BadInput(f"Chosen more than once: {', '.join(twice)}.", "Name each once.")
    others = [name for name in names if name not in BUNDLED]
    if others and bundled_only:
        raise _unknown(others[0], ())
    if importlib.util.find_spec("lm_eval") is None:
        raise Unavailable("Task accuracy needs the package lm-eval.", f"pip install {PACKAGE}")
    for name in others:
        if name not in harness_names():
            raise _unknown(name, harness_names())


def why_none() -> str:
    """Why no task can be measured here; empty where they can."""
    try:
        check(BUNDLED)
    except Unavailable as error:
        return str(error)
    return ""


def _unknown(name: str, known: Collection[str]) -> BadInput:
    """All of the harness's ten thousand names would help nobody: the near ones, and those that come along."""
    near = difflib.get_close_matches(name, [*BUNDLED, *known], n=3, cutoff=0.75)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    also = "; `lm_eval ls tasks` lists the others" if known else ""
    return BadInput(f"Unknown task {name!r}.", f"{hint}These come with quantlab: {', '.join(BUNDLED)}{also}.")


@cache
def harness_names() -> frozenset[str]:
    """Tasks, groups and tags of the installed harness.

    Read from its files in a second; its own index, which parses all of them, takes half a minute.
    """
    found_at = importlib.util.find_spec("lm_eval")
    packages = (found_at.submodule_search_locations if found_at else None) or ()
    every = (path for package in packages for path in Path(package, "tasks").rglob("*"))
    files = (path for path in every if path.suffix == "" or path.name.endswith("yaml"))
    found: set[str] = set()
    for file in files:
        if file.is_file():
            for names in _NAMES.findall(file.read_text("utf-8", errors="replace")):
                found.update(_NAME.findall(names))
    return frozenset(found - {"-", "null", "task:", "group:"})
