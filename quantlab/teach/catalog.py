"""All that a class can be asked, wherever it is asked: the one list for the page, the command line and the board."""

from quantlab.teach.classroom.asked import Catalog
from quantlab.teach.quiz import questions


def catalog() -> Catalog:
    """The questions of the quiz that comes with quantlab."""
    return Catalog(questions.asked_in(questions.bundled()))
