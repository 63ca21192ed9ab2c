"""What a visitor's browser keeps of the quiz, read as what it is: data from outside."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from quantlab.teach.quiz.questions import Question

#: Under which name the browser keeps it. The secret is none: it only makes what is kept readable after a restart.
STORAGE_KEY = SECRET = "quantlab-quiz"  # noqa: S105 - see above
_VISITOR = re.compile(r"[\w-]{8,64}", re.ASCII)
_CODE = re.compile(r"[A-Z0-9]{1,12}", re.ASCII)


@dataclass(frozen=True)
class Kept:
    """`visitor` is drawn at random; `code` is the class that was joined, empty: none; `at` is the question that is
    shown, and `votes` the precisions that were chosen, both by the questions' keys."""

    visitor: str
    code: str = ""
    at: str = ""
    votes: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As the browser keeps it."""
        return asdict(self)

    def anew(self, questions: Sequence[Question]) -> "Kept":
        """The same visitor before the first question."""
        return replace(self, at=questions[0].key if questions else "", votes={})

    def voted(self, question: Question, precision: str) -> "Kept":
        return replace(self, votes={**self.votes, question.key: precision})


def read(data: Any, questions: Sequence[Question]) -> Kept:
    """What a browser sent, without whatever is not as it must be; a new visitor where it sent nothing of use."""
    data = data if isinstance(data, dict) else {}
    visitor, code, at, votes = (data.get(name) for name in ("visitor", "code", "at", "votes"))
    if not isinstance(visitor, str) or not _VISITOR.fullmatch(visitor):
        visitor = secrets.token_urlsafe(16)
    options = {question.key: question.options for question in questions}
    votes = votes if isinstance(votes, dict) else {}
    known = {key: votes[key] for key in options if votes.get(key) in options[key]}
    first = next((key for key in options if key not in known), next(iter(options), ""))
    return Kept(
        visitor,
        code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        at if isinstance(at, str) and at in options else first,
        known,
    )
