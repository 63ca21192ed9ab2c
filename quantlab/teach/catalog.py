"""All that a class can be asked, wherever it is asked: the one list for the page, the command line and the board."""

from functools import cache

from quantlab.settings import AppSettings
from quantlab.teach.classroom.asked import Asked, Catalog
from quantlab.teach.lessons import observing, reading
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.quiz import own, questions


def catalog(app: AppSettings) -> Catalog:
    """The questions of the quiz, those that come with quantlab and one's own, and what the lessons ask first."""

    def of_quiz(question: str) -> Asked | None:
        return questions.asked_in(own.every(app.quiz_folder))(question)

    return Catalog(of_quiz, _of_lesson)


@cache
def _of_lesson(question: str) -> Asked | None:
    """What a lesson asks first. Its truth is what every learner sees at once, computed or recorded; None where it bears
    no verdict."""
    found = next((it for it in reading.lessons() if it.question.id == question), None)
    if found is None:
        return None
    truth = observing.observe(found.number, Acted()).truth
    return Asked(
        f"Lesson {found.number}: {reading.asked(found.question, observing.given(found.number))}",
        found.question.choices,
        truth.value if truth is not None and not truth.doubt else None,
        found.question.unit,
        place=found.number,
    )
