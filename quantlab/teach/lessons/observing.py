"""What there is to observe in each lesson: what is true, and what is drawn of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.records import Comparison, ComparisonRequest, Quality
from quantlab.records.lessons import Truth
from quantlab.teach.lessons import breaking, buckets, choosing, memory, sixteen, speed
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.lessons.reading import lesson
from quantlab.teach.recorded import FOLDER, recorded, told

#: The button that leads on, where nothing was recorded.
SHOW = "Show"


@dataclass(frozen=True)
class Observed:
    """`record` is what is drawn: an `Inside`, a plan, what fits a card, a comparison or a quality run.

    `truth` is None where only a run could tell it and none is there; `missing` says why. `live`: it was run here and
    now.
    """

    truth: Truth | None
    record: Any = None
    missing: str = ""
    live: bool = False


@dataclass(frozen=True)
class _Course:
    """What one lesson is computed by. `request` is what a learner may run here, `name` that of its recorded result."""

    given: Callable[[], Mapping[str, str]]
    computed: Callable[[], Truth] | None = None
    picture: Callable[[Acted], Any] | None = None
    of_run: Callable[[Any], Truth] | None = None
    request: Callable[[Acted], ComparisonRequest] | None = None
    name: Callable[[Acted], str] | None = None


_COURSES = {
    1: _Course(sixteen.given, of_run=sixteen.truth, request=sixteen.request, name=lambda acted: "lesson-1"),
    2: _Course(buckets.given, buckets.truth, buckets.picture),
    3: _Course(memory.given, memory.truth, memory.picture),
    4: _Course(breaking.given, of_run=breaking.truth, request=breaking.request, name=lambda acted: "lesson-4"),
    5: _Course(dict, of_run=speed.truth, request=speed.request, name=lambda acted: f"lesson-5-{acted.model}"),
    6: _Course(choosing.given, choosing.truth, choosing.picture),
}


def _course(number: int) -> _Course:
    """Raises BadInput for a lesson that is not there."""
    return _COURSES[lesson(number).number]


def given(number: int) -> Mapping[str, str]:
    """The figures that are told before the prediction, by the names in the lesson's texts."""
    return _course(number).given()


def runs(number: int) -> bool:
    """Whether the lesson has something to run on this machine."""
    return _course(number).request is not None


def request(number: int, acted: Acted) -> ComparisonRequest:
    """What a learner runs here. Raises BadInput for what cannot be, also for a lesson that runs nothing."""
    course = _course(number)
    if course.request is None:
        raise BadInput("This lesson runs no model.", "Look at its result instead: that is computed, or was recorded.")
    return course.request(acted)


def observe(number: int, acted: Acted, folder: Path = FOLDER) -> Observed:
    """What is computed at once, or was recorded. Raises BadInput for what was typed wrong."""
    course = _course(number)
    if course.computed is not None and course.picture is not None:
        return Observed(course.computed(), course.picture(acted))
    assert course.name is not None and course.of_run is not None and course.request is not None
    course.request(acted)  # what a learner typed is checked here too
    try:
        found = recorded(course.name(acted), folder)
        truth = course.of_run(found.record)
    except BadInput as error:
        return Observed(None, missing=str(error))
    return Observed(replace(truth, source=f"Recorded: {found.told}."), found.record)


def of_run(number: int, record: Comparison | Quality, acted: Acted, folder: Path = FOLDER) -> Observed:
    """What a run on this machine tells. That of lesson 4 shows answers; what breaks is told by the recorded tests.

    Raises BadInput where the run has not what the lesson needs.
    """
    course = _course(number)
    if number == 4 and isinstance(record, Comparison):
        return replace(observe(number, acted, folder), record=record, live=True)
    if course.of_run is None:
        raise BadInput("This lesson runs no model.", "Look at its result instead: that is computed, or was recorded.")
    return Observed(replace(course.of_run(record), source=f"Measured here: {told(record)}."), record, live=True)
