"""What a class answered, as its board shows it: counts, how far predictions are off, votes held against guessing."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from quantlab.errors import BadInput
from quantlab.measure.statistics import median
from quantlab.teach.classroom import guessing
from quantlab.teach.classroom.asked import Answer, Asked, Catalog

#: Where the bins of predictions end: by how much of the truth they are off, as shares of it.
EDGES = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Votes:
    """The votes on one question: `counts` by choice, in the question's order. `right` None: the truth is not known."""

    question: str
    asked: Asked
    counts: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)

    @property
    def right(self) -> int | None:
        if self.asked.truth is None:
            return None
        return sum(count for choice, count in self.counts if self.asked.is_right(choice))


@dataclass(frozen=True)
class Predictions:
    """The numbers that were predicted, sorted. `bins` count those that are off by so much, see `EDGES`."""

    question: str
    asked: Asked
    values: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return median(self.values)

    @property
    def bins(self) -> tuple[tuple[str, int], ...]:
        """How many are off by how much, in words; empty where there is no truth, or it is zero."""
        off = [share for value in self.values if (share := self.asked.off(value)) is not None]
        if len(off) < len(self.values) or not off:
            return ()
        found: Counter[int] = Counter(_bin(share) for share in off)
        return tuple((name, found[place]) for place, name in enumerate(_names()))


@dataclass(frozen=True)
class Found:
    """The votes on all questions of one precision, and how likely guessing alone gives so many right ones."""

    precision: str
    right: int
    votes: int
    by_guessing: float

    @property
    def sentence(self) -> str:
        return (
            f"{self.right} of {self.votes} found {self.precision}; by guessing alone so many, or more, "
            f"would come about {guessing.in_words(self.by_guessing)}."
        )


@dataclass(frozen=True)
class Board:
    """A class's board. `gone` are answers to questions that are not asked any more."""

    code: str
    visitors: int
    votes: tuple[Votes, ...] = ()
    predictions: tuple[Predictions, ...] = ()
    found: tuple[Found, ...] = ()
    gone: int = 0


def board_of(code: str, visitors: int, given: Mapping[str, Mapping[Answer, int]], catalog: Catalog) -> Board:
    """The board of a class from how often each answer was given to each question."""
    votes, predictions, gone = [], [], 0
    known = {question: asked for question in given if (asked := catalog.find(question)) is not None}
    for question in sorted(known, key=lambda it: (it.partition("/")[0], known[it].place, it)):
        asked = known[question]
        counted = dict(_taken(asked, given[question]))
        gone += sum(given[question].values()) - sum(counted.values())
        if asked.choices:
            votes.append(Votes(question, asked, tuple((choice, counted.get(choice, 0)) for choice in asked.choices)))
        else:
            values = sorted(float(value) for value, times in counted.items() for _ in range(times))
            predictions.append(Predictions(question, asked, tuple(values)))
    gone += sum(sum(answers.values()) for question, answers in given.items() if question not in known)
    return Board(code, visitors, tuple(votes), tuple(predictions), tuple(_found(votes)), gone)


def _taken(asked: Asked, answers: Mapping[Answer, int]) -> Iterator[tuple[Answer, int]]:
    """The answers that the question still takes."""
    for value, times in answers.items():
        try:
            yield asked.taken(value), times
        except BadInput:
            continue


def _found(votes: Iterable[Votes]) -> Iterator[Found]:
    by_precision: dict[str, list[Votes]] = {}
    for each in votes:
        if each.asked.precision and each.right is not None and each.total:
            by_precision.setdefault(each.asked.precision, []).append(each)
    for precision, asked in sorted(by_precision.items()):
        options: Counter[int] = Counter()
        for each in asked:
            options[len(each.asked.choices)] += each.total
        right = sum(each.right or 0 for each in asked)
        yield Found(precision, right, options.total(), guessing.at_least(right, options))


def _bin(share: float) -> int:
    """The bin of a share. What lies on an edge is in the bin nearer to the truth."""
    share = round(share, 9)  # 4.4 is ten percent more than 4, and is not in binary
    return sum(share >= edge if edge < 0 else share > edge for edge in EDGES) if math.isfinite(share) else len(EDGES)


def _names() -> tuple[str, ...]:
    edges = [f"{abs(edge) * 100:.0f}" for edge in EDGES]
    return (
        f"more than {edges[0]} % too low",
        f"{edges[1]} to {edges[0]} % too low",
        f"{edges[2]} to {edges[1]} % too low",
        f"within {edges[3]} %",
        f"{edges[3]} to {edges[4]} % too high",
        f"{edges[4]} to {edges[5]} % too high",
        f"{edges[5]} to {edges[6]} % too high",
        f"more than {edges[6]} % too high",
    )
