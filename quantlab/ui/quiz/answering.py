"""An answer of a visitor handed to the class: for the quiz, and for whatever else asks something."""

import logging

from quantlab.errors import BadInput, QuantlabError
from quantlab.settings import AppSettings
from quantlab.teach.classroom import Classroom
from quantlab.ui.common.problem import Problem
from quantlab.ui.quiz.kept import Kept
from quantlab.ui.services import Services

log = logging.getLogger(__name__)


def classroom(services: Services) -> Classroom:
    """The classes of the page. Raises Unavailable where they cannot be used, BadInput where there are none."""
    found = services.classroom()
    if found is None:
        raise BadInput("There are no classes on this page.", "The quiz works without one.")
    return found


def give(services: Services, kept: Kept, question: str, value: float | str) -> float | str:
    """Count an answer in the class that the visitor has joined; without one nothing happens.

    Gives the answer that counts: an earlier one of this visitor, given in another window or before he started over,
    stays. `question` is an id that the catalog knows, such as "lesson-2/bucket". Raises BadInput or Unavailable, see
    `Classroom.answer`.
    """
    if not kept.code:
        return value
    room = classroom(services)
    if room.answer(kept.code, question, kept.visitor, value):
        return value
    counted = room.counted(kept.code, question, kept.visitor)
    return value if counted is None else counted


def problem_of(error: QuantlabError, app: AppSettings) -> Problem:
    """As a visitor reads it. In public nobody is told where the file lies."""
    if app.public and not isinstance(error, BadInput):
        log.warning("%s", error)
        return Problem("The classes cannot be used at the moment.", "Try again; the quiz works without one.")
    return Problem(error.what, error.advice)
