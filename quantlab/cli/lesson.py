"""`quantlab lesson`: one of the six lessons in the terminal, its question and the verdict."""

import argparse
import json
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.cli import arguments
from quantlab.errors import BadInput

if TYPE_CHECKING:
    from quantlab.records import Comparison
    from quantlab.records.lessons import Lesson


def add(verbs: arguments.Verbs) -> None:
    verb = verbs.add_parser("lesson", help="six short lessons: predict, act, observe, reflect")
    verb.add_argument("number", type=int, nargs="?", help="1 to 6; none: their list")
    verb.add_argument("--predict", metavar="VALUE", help="your prediction; without it you are asked, in a terminal")
    verb.add_argument("--measure", action="store_true", help="run it on this machine instead of what was recorded")
    verb.add_argument("--json", metavar="FILE", help="write question and verdict as JSON to a file, or -")


def glued(given: list[str]) -> list[str]:
    """The arguments with what follows `--predict` joined to it: argparse takes -3 for an option."""
    if "--predict" in given[:-1]:
        at = given.index("--predict")
        return [*given[:at], f"--predict={given[at + 1]}", *given[at + 2 :]]
    return given


def run(args: argparse.Namespace) -> int:
    if args.json not in (None, "-"):
        arguments.check_writable(Path(args.json).absolute())

    from quantlab.cli import render
    from quantlab.teach.lessons import judging, reading
    from quantlab.teach.lessons.library import begun, judge

    if args.number is None:
        render.show_lessons(reading.lessons())
        return 0
    lesson = begun(reading.lesson(args.number))
    quiet = args.json == "-"
    if not quiet:
        render.show_beginning(lesson)
    typed = args.predict if args.predict is not None else _asked(lesson)
    if typed is None:
        raise BadInput("There is no prediction yet.", f"Add one: quantlab lesson {lesson.number} --predict VALUE")
    judging.read(lesson.question, typed)  # before anything runs
    found = _measured(lesson) if args.measure else None
    verdict, truth = judge(lesson.number, typed, found)
    if not quiet:
        render.show_ending(lesson, verdict, truth)
    if args.json is not None:
        from quantlab.export.codec import plain

        data = {
            "schema": "quantlab.lesson/1", "number": lesson.number, "title": lesson.title,
            "question": plain(lesson.question), "verdict": plain(verdict), "truth": plain(truth),
        }  # fmt: skip
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        print(text) if quiet else arguments.write(Path(args.json), text)
    return 0


def _asked(lesson: "Lesson") -> str | None:
    """What is typed at a terminal; None where there is none."""
    if not sys.stdin.isatty():
        return None
    return input(f"{lesson.question.ask} ")


def _measured(lesson: "Lesson") -> "Comparison":
    """The lesson's run on this machine. Raises BadInput for a lesson that has none, or whose run says nothing of it."""
    from quantlab.cli import render
    from quantlab.runs.compare import compare
    from quantlab.teach.lessons import observing
    from quantlab.teach.lessons.acted import Acted

    asked, stop = observing.request(lesson.number, Acted()), threading.Event()
    events = compare(asked.model, asked.precisions, asked.prompt, asked.settings, stop=stop)
    with closing(events):
        return render.follow(events, stop).comparison
