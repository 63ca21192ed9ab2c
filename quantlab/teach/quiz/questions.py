"""Questions made of recorded comparisons: several answers to one prompt, exactly one of a quantized model."""

import hashlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from quantlab.errors import BadInput
from quantlab.export import read_json
from quantlab.records import Comparison, Run
from quantlab.reporting.advice import one_prompt
from quantlab.settings import ASSETS
from quantlab.teach.classroom.asked import Asked, Lookup

#: Where the recorded comparisons lie; making.py wrote them.
FOLDER = ASSETS / "recorded" / "quiz"
#: What the answers are called until the vote.
LETTERS = "ABCDEF"


@dataclass(frozen=True)
class Question:
    """Anonymous answers to one prompt. `quantized` is the precision that is to be found among `options`.

    `id` names the recording; `key` is the question as votes are kept under it.
    """

    id: str
    comparison: Comparison
    quantized: str

    @property
    def key(self) -> str:
        return f"quiz/{self.id}/which"

    @property
    def options(self) -> tuple[str, ...]:
        """The precisions of the answers, in the recording's order."""
        return tuple(run.precision for run in self.comparison.runs)

    def order(self, visitor: str) -> tuple[str, ...]:
        """The precisions as one visitor sees them under A, B ...: the same at every look, and another for others."""
        seed = hashlib.sha256(f"{visitor}\n{self.key}".encode()).digest()
        options = list(self.options)
        random.Random(seed).shuffle(options)
        return tuple(options)

    def chosen(self, letter: str, visitor: str) -> str:
        """The precision that a visitor's letter stands for. Raises BadInput for a letter that no answer has."""
        order = self.order(visitor)
        if len(letter) != 1 or letter not in LETTERS[: len(order)]:
            raise BadInput("There is no such answer.", f"Choose one of {', '.join(LETTERS[: len(order)])}.")
        return order[LETTERS.index(letter)]


def is_quantized(run: Run) -> bool:
    """Whether a run's weights are stored at fewer bits than they are computed in."""
    return run.load is not None and run.load.bits_per_quantized_weight is not None


def candidates(comparison: Comparison) -> tuple[str, ...]:
    """The quantized precisions whose answer differs from all unquantized ones: others nobody tells by their words."""
    whole = {run.text.strip() for run in comparison.runs if not is_quantized(run)}
    return tuple(run.precision for run in comparison.runs if is_quantized(run) and _is_answer(run, whole))


def _is_answer(run: Run, others: set[str]) -> bool:
    return run.error is None and not run.stopped and bool(run.text.strip()) and run.text.strip() not in others


def question_of(name: str, comparison: Comparison) -> Question:
    """The question that a recorded comparison is. Raises BadInput where it is none.

    It takes the reference, which is not quantized, exactly one quantized answer, and no two answers that are alike.
    """
    quantized = [run.precision for run in comparison.runs if is_quantized(run)]
    texts = {run.text.strip() for run in comparison.runs}
    alike = len(texts) < len(comparison.runs)
    if len(quantized) != 1 or not 2 <= len(comparison.runs) <= len(LETTERS) or alike or not all(texts):
        raise BadInput(
            f"{name} is no question.", "It takes two or more different answers, exactly one of a quantized model."
        )
    return Question(name, comparison, quantized[0])


def read(folder: Path) -> tuple[Question, ...]:
    """The questions in a folder of exported comparisons, mixed, in the same order for everybody.

    Those that are `obvious` come last: a quiz that begins with one teaches that bits are lost like that.
    Raises BadInput for a file that is none.
    """
    found = map(read_file, folder.glob("*.json"))
    return tuple(sorted(found, key=lambda it: (obvious(it), hashlib.sha256(it.key.encode()).digest())))


def obvious(question: Question) -> bool:
    """Whether the quantized model is so damaged that its answer gives it away, garbled or in the wrong place."""
    kld = one_prompt.distance(question.comparison.run(question.quantized))
    return kld is not None and one_prompt.grade(kld) == one_prompt.RUINED_GRADE


def read_file(file: Path) -> Question:
    """The question of one exported comparison. Raises BadInput where it is none, OSError where it cannot be read."""
    record = read_json(file.read_bytes())
    if not isinstance(record, Comparison):
        raise BadInput(f"{file.name} is no comparison.", "Only comparisons can be questions.")
    return question_of(file.stem, record)


def asked_in(questions: Sequence[Question]) -> Lookup:
    """The questions as classes know them: one vote for a precision, numbered in their order."""
    known = {
        question.key: Asked(
            f"{place}. {question.comparison.prompt} ({question.comparison.model.name})",
            question.options,
            question.quantized,
            precision=question.quantized,
            place=place,
        )
        for place, question in enumerate(questions, 1)
    }
    return known.get


_READING = threading.Lock()


def bundled() -> tuple[Question, ...]:
    """The questions that come with quantlab. Read once, also where a whole class asks for the first one at once."""
    with _READING:
        return _bundled()


@cache
def _bundled() -> tuple[Question, ...]:
    return read(FOLDER)


def by_key(questions: Sequence[Question], key: str) -> Question:
    """The question that votes name. Raises BadInput where there is none."""
    for question in questions:
        if question.key == key:
            return question
    raise BadInput("There is no such question.", "Load the page again: the questions may have changed.")
