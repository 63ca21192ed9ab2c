"""What a class can be asked, and what of an answer is taken: a number, or one of named choices, never free text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from quantlab.errors import BadInput

Answer = float | str
#: The most digits of a number that anybody predicts; what is larger is a slip of the finger.
LARGEST = 1e15


@dataclass(frozen=True)
class Asked:
    """A question as the classes know it.

    `title` stands on the board, sorted by `place` among the questions whose ids begin alike. With `choices` the answer
    is one of them, without it is a finite number in `unit`. `truth` is the right answer, None where it is not known
    (yet). `precision` is what a right vote tells apart: votes on questions of one precision are counted together and
    held against guessing, which is right in one of `len(choices)`.
    """

    title: str
    choices: tuple[str, ...] = ()
    truth: Answer | None = None
    unit: str = ""
    precision: str = ""
    place: int = 0

    def taken(self, value: object) -> Answer:
        """An answer as it is kept. Raises BadInput for what is none of the choices, or no finite number."""
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return value
            raise BadInput("There is no such answer.", "Choose one of those that are shown.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise BadInput("A prediction is a number.", f"Type one between {-LARGEST:,.0f} and {LARGEST:,.0f}.")
        return float(value)

    def is_right(self, answer: Answer) -> bool | None:
        """Whether a choice is the right one; None for numbers, and where the truth is not known."""
        return None if self.truth is None or not self.choices else answer == self.truth

    def off(self, answer: Answer) -> float | None:
        """By how much of the truth a number is off, as a share of it: 0.5 is half as much again, -0.5 half of it.

        None for choices, and where there is no truth or it is zero.
        """
        if self.choices or not isinstance(self.truth, int | float) or not self.truth:
            return None
        share = (float(answer) - self.truth) / abs(self.truth)
        return share if math.isfinite(share) else None


Lookup = Callable[[str], Asked | None]


class Catalog:
    """All questions that a class can be asked, by the beginnings of their ids: `quiz/`, `lesson-2/` ...

    `lookups` say what an id stands for, the first that knows it; None from all of them: there is no such question.
    """

    def __init__(self, *lookups: Lookup) -> None:
        self._lookups = lookups

    def find(self, question: str) -> Asked | None:
        """The question of an id, None where there is none any more."""
        return next((found for lookup in self._lookups if (found := lookup(question)) is not None), None)

    def __getitem__(self, question: str) -> Asked:
        """The question of an id. Raises BadInput where there is none."""
        found = self.find(question)
        if found is None:
            raise BadInput("There is no such question.", "Load the page again: the questions may have changed.")
        return found
