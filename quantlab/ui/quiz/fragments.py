"""HTML of a question, of what its vote reveals, and of a class's board."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantlab.records import Comparison, Run, units
from quantlab.reporting.advice import one_prompt
from quantlab.reporting.charts.style import colour
from quantlab.reporting.templates import Pieces
from quantlab.settings import AppSettings
from quantlab.teach.classroom.board import Board, Predictions, Votes
from quantlab.teach.quiz.questions import LETTERS, Question, is_quantized
from quantlab.ui.common import fragments
from quantlab.ui.compare import column
from quantlab.ui.quiz.kept import Kept

_HTML = Pieces("ui/quiz/fragments.html")


@dataclass(frozen=True)
class _Answer:
    """One answer under its letter. What is empty is not revealed yet."""

    letter: str
    text: str
    precision: str = ""
    told: str = ""
    line: str = ""
    tone: str = ""
    chosen: bool = False


def intro(classes: bool) -> str:
    """What the tab is for."""
    return _HTML.intro(classes)


def for_teachers(app: AppSettings) -> str:
    """What a class is, what is kept of it and for how long, for who opens one."""
    return _HTML.for_teachers(f"{app.class_codes:,}", units.size(app.classroom_bytes))


def question(asked: Question, place: int, total: int, kept: Kept) -> str:
    """The prompt with its answers, anonymous until this visitor has voted; then revealed."""
    comparison, vote = asked.comparison, kept.votes.get(asked.key)
    order, longest = asked.order(kept.visitor), comparison.settings.max_new_tokens
    answers = [_answer(asked, precision, letter, vote) for precision, letter in zip(order, LETTERS, strict=False)]
    return _HTML.question(
        place=place,
        total=total,
        model=comparison.model.name,
        prompt=comparison.prompt,
        cut=longest if any(len(run.token_ids) >= longest for run in comparison.runs) else 0,
        answers=answers,
        revealed=_revealed(asked, order, vote) if vote else "",
        came_rounded=comparison.model.came_rounded,
        caution=fragments.of_the_weights(comparison.model),
    )


def _answer(asked: Question, precision: str, letter: str, vote: str | None) -> _Answer:
    comparison = asked.comparison
    run, reference = comparison.run(precision), comparison.run(comparison.reference)
    if vote is None:
        return _Answer(letter, run.text.strip())
    floor = one_prompt.noise_floor(comparison.runs, comparison.reference)
    return _Answer(
        letter,
        run.text.strip() if run is reference else column.marked(run, reference),
        precision,
        _badge(run, comparison),
        one_prompt.line(run, reference, floor),
        colour(precision),
        precision == vote,
    )


def _badge(run: Run, comparison: Comparison) -> str:
    """What an answer's model is. Of weights that were rounded before they came, nothing is quite unquantized."""
    if comparison.model.came_rounded:
        return "rounded once more" if is_quantized(run) else "as it came"
    return "quantized" if is_quantized(run) else "not quantized"


def _revealed(asked: Question, order: Sequence[str], vote: str) -> str:
    comparison = asked.comparison
    run = comparison.run(asked.quantized)
    where = run.first_divergence
    load = run.load
    return _HTML.revealed(
        right=vote == asked.quantized,
        letter=LETTERS[order.index(asked.quantized)],
        quantized=asked.quantized,
        reference=comparison.reference,
        bits=units.bits(load.bits_per_quantized_weight if load else None),
        parting=column.divergence(where, run, comparison.reference) if where else "",
        recorded=f"{comparison.started:%Y-%m-%d} on {comparison.machine.cpu}",
    )


def score(kept: Kept, questions: Sequence[Question]) -> str:
    """How many votes were right so far, and what guessing gives."""
    voted = [it for it in questions if it.key in kept.votes]
    right = sum(kept.votes[it.key] == it.quantized for it in voted)
    return _HTML.score(right, len(voted), units.number(sum(1 / len(it.options) for it in voted), 2))


def joined(code: str, problem: str = "") -> str:
    """Whether votes go to a class, and what is wrong with its code."""
    return _HTML.joined(code, problem)


def no_questions() -> str:
    """In place of a question where there is none."""
    return _HTML.no_questions()


@dataclass(frozen=True)
class _VoteRow:
    title: str
    asked: str
    total: int
    right: str
    share: str
    counts: str


@dataclass(frozen=True)
class _PredictionRow:
    title: str
    total: int
    truth: str
    median: str
    bins: tuple[tuple[str, int, str], ...]


def board(found: Board) -> str:
    """The board of a class."""
    return _HTML.board(
        found, [_vote_row(each) for each in found.votes], [_prediction_row(each) for each in found.predictions]
    )


def _vote_row(votes: Votes) -> _VoteRow:
    right = units.NONE if votes.right is None else f"{votes.right} of {votes.total}"
    share = f"{(votes.right or 0) / votes.total:.4f}" if votes.total else "0"
    counts = ", ".join(f"{choice} {count}" for choice, count in votes.counts)
    return _VoteRow(votes.asked.title, votes.asked.precision, votes.total, right, share, counts)


def _prediction_row(made: Predictions) -> _PredictionRow:
    unit, truth, total = made.asked.unit, made.asked.truth, len(made.values)
    shown = units.number(truth) if isinstance(truth, int | float) else units.NONE
    bins = tuple((name, count, f"{count / total:.4f}") for name, count in made.bins)
    middle = units.number(made.median)
    truth_said, middle_said = (units.minus(f"{it} {unit}".strip()) for it in (shown, middle))
    return _PredictionRow(made.asked.title, total, truth_said, middle_said, bins)
