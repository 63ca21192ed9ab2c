"""All that a class can be asked, wherever it is asked: the one list for the page, the command line and the board."""

from quantlab.settings import AppSettings
from quantlab.teach.classroom.asked import Asked, Catalog
from quantlab.teach.quiz import own, questions


def catalog(app: AppSettings) -> Catalog:
    """The questions of the quiz, those that come with quantlab and one's own."""

    def of_quiz(question: str) -> Asked | None:
        return questions.asked_in(own.every(app.quiz_folder))(question)

    return Catalog(of_quiz)
