"""The one way by which a prediction comes in, whoever gathers it."""

from dataclasses import dataclass
from typing import Any

from quantlab.records.lessons import Question
from quantlab.teach.lessons import judging


@dataclass(frozen=True)
class Predicted:
    """`question` is the stable id of what was asked ("lesson-2/bucket")."""

    question: str
    value: float | str


def predicted(question: Question, value: Any) -> Predicted:
    """A prediction as a learner typed or chose it. Raises BadInput for what is none.

    Every prediction of the tab passes here, before anything true is shown.
    """
    return Predicted(question.id, judging.read(question, value))
