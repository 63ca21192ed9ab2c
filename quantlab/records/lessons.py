"""What a lesson asks, what is true, and how far a prediction was from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["number", "choice"]
Outcome = Literal["right", "close", "off", "open"]
#: The four steps of every lesson, in their order.
STEPS = ("predict", "act", "observe", "reflect")


@dataclass(frozen=True)
class Question:
    """One thing to predict. `id` is stable ("lesson-2/bucket"), so that predictions can be gathered under it.

    A number lies from `low` to `high`, in `unit`, and is `whole` or not; within the share `close` of the truth it
    counts as close, within `exact` as right. A choice is one of `choices`.
    """

    id: str
    ask: str
    kind: Kind
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    exact: float = 0.0
    close: float = 0.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """One lesson. `texts` has the Markdown of each of `STEPS`, in which `{name}` stands for a figure that is computed
    (see `Truth.facts`), and `answer` that of the question asked last."""

    number: int
    title: str
    idea: str
    question: Question
    texts: Mapping[str, str]
    answer: str


@dataclass(frozen=True)
class Truth:
    """What is true, and how that is known.

    Of a number that was measured, `low` and `high` are its least and largest samples; of a choice, `ties` are others
    that cannot be told from `value`. `facts` are figures as text, by the names that the lesson's texts use. `source`
    says in words where it comes from, `of` what it is true of where that may be chosen. `doubt`: why no verdict can
    rest on it; empty where one can.
    """

    value: float | str
    facts: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    of: str = ""
    low: float | None = None
    high: float | None = None
    ties: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Verdict:
    """A prediction beside the truth. `off` is prediction less truth, of numbers alone; `words` say it all."""

    outcome: Outcome
    prediction: float | str
    truth: float | str
    off: float | None
    words: str
