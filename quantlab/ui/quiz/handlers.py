"""What the events of the tab Quiz do. Each answers at once: nothing is computed but a board."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.records import Comparison
from quantlab.settings import AppSettings
from quantlab.teach.quiz.questions import LETTERS, Question, by_key
from quantlab.ui.common import fragments
from quantlab.ui.common.problem import Problem
from quantlab.ui.quiz import answering
from quantlab.ui.quiz import fragments as html
from quantlab.ui.quiz import kept as browser
from quantlab.ui.quiz.kept import Kept
from quantlab.ui.quiz.parts import QuizParts
from quantlab.ui.services import Services

Updates = dict[Any, Any]


class QuizHandlers:
    """Bound to one page's tab."""

    def __init__(self, parts: QuizParts, app: AppSettings, services: Services) -> None:
        self.parts, self.app, self.services = parts, app, services

    def show(self, kept: Any) -> Updates:
        """The question where the visitor was, and the class, if it is still there."""
        questions = self.services.quiz()
        found, of_class = browser.read(kept, questions), None
        if found.code:
            try:
                answering.classroom(self.services).found(found.code)
            except BadInput as error:
                found, of_class = replace(found, code=""), Problem(error.what, error.advice)
            except QuantlabError as error:
                of_class = answering.problem_of(error, self.app)
        return self._shown(found, questions, of_class=of_class) | {self.parts.code: found.code}

    def join(self, code: str, kept: Any) -> Updates:
        """Join the class of a code, or leave the one that was joined with an empty one."""
        questions = self.services.quiz()
        found = browser.read(kept, questions)
        if found.code and not str(code or "").strip():
            left = Problem(f"You have left class {found.code}.", "Your votes there stay counted.")
            return self._shown(replace(found, code=""), questions, of_class=left)
        try:
            joined = answering.classroom(self.services).found(code)
        except QuantlabError as error:
            why = answering.problem_of(error, self.app)
            return self._shown(replace(found, code=""), questions, of_class=why)
        if joined != found.code:  # a new class begins at the beginning, also where another one sat at this computer
            found = replace(found.anew(questions), code=joined)
        return self._shown(found, questions) | {self.parts.code: joined}

    def restart(self, kept: Any) -> Updates:
        """Forget the votes of this browser. A class keeps those that it has."""
        questions = self.services.quiz()
        return self._shown(browser.read(kept, questions).anew(questions), questions)

    def vote(self, letter: str | None, kept: Any) -> Updates:
        """Vote for an answer of the question that is shown, once; what is revealed stays revealed."""
        questions = self.services.quiz()
        found = browser.read(kept, questions)
        try:
            question = by_key(questions, found.at)
            if question.key in found.votes:
                return self._shown(found, questions, _earlier(question, found, found.votes[question.key]))
            if not letter:
                raise BadInput("Nothing is chosen.", "Choose one of the answers, then vote.")
            precision = question.chosen(str(letter), found.visitor)
            counted = answering.give(self.services, found, question.key, precision)
        except QuantlabError as error:
            return self._shown(found, questions, answering.problem_of(error, self.app))
        # What counts is shown, which need not be what was chosen here.
        counted = str(counted) if counted in question.options else precision
        told = None if counted == precision else _earlier(question, found, counted)
        return self._shown(found.voted(question, counted), questions, told)

    def turn(self, by: int) -> Callable[[Any], Updates]:
        """The handler that goes so many questions on."""

        def turn(kept: Any) -> Updates:
            questions = self.services.quiz()
            found = browser.read(kept, questions)
            keys = [question.key for question in questions]
            if keys:
                found = replace(found, at=keys[(keys.index(found.at) + by) % len(keys)])
            return self._shown(found, questions)

        return turn

    def open(self) -> Updates:
        """A new class, and its board."""
        try:
            classroom = answering.classroom(self.services)
            code = classroom.open()
        except QuantlabError as error:
            return self._board_problem(error)
        return {self.parts.board_code: code} | self.board(code)

    def board(self, code: str) -> Updates:
        """The board of a class as it is now."""
        try:
            found = answering.classroom(self.services).board(code)
        except QuantlabError as error:
            return self._board_problem(error) | {self.parts.board: ""}
        return {self.parts.board: html.board(found), self.parts.board_problem: ""}

    def make(self, comparison: Comparison | None, kept: Any) -> Updates:
        """A question of the result of the tab Compare, shown at once."""
        try:
            if comparison is None:
                raise BadInput("Nothing has been compared on this page.", "Press Compare on the first tab first.")
            made = self.services.make_question(comparison)
        except QuantlabError as error:
            return {self.parts.made: fragments.problem(answering.problem_of(error, self.app))}
        questions = self.services.quiz()
        found = browser.read(kept, questions)
        votes = {key: vote for key, vote in found.votes.items() if key != made.key}
        shown = self._shown(replace(found, at=made.key, votes=votes), questions)
        return shown | {self.parts.made: fragments.said(f"Made, with {made.quantized} to find. It is shown above.")}

    def _shown(
        self,
        kept: Kept,
        questions: Sequence[Question],
        problem: Problem | None = None,
        of_class: Problem | None = None,
    ) -> Updates:
        """`of_class` is told beside the code, where it was typed: on a phone the rest lies far below."""
        parts = self.parts
        shown: Updates = {
            parts.kept: kept.data(),
            parts.joined: html.joined(kept.code, fragments.problem(of_class)),
            parts.problem: fragments.problem(problem),
            parts.score: html.score(kept, questions),
        }
        if not questions:
            return shown | {parts.question: html.no_questions(), parts.vote: gr.update(interactive=False)}
        question = by_key(questions, kept.at)
        vote, letters = kept.votes.get(question.key), list(LETTERS[: len(question.options)])
        chosen = letters[question.order(kept.visitor).index(vote)] if vote else None
        return shown | {
            parts.question: html.question(question, questions.index(question) + 1, len(questions), kept),
            parts.letter: gr.update(choices=letters, value=chosen, interactive=vote is None),
            parts.vote: gr.update(interactive=vote is None),
        }

    def _board_problem(self, error: QuantlabError) -> Updates:
        return {self.parts.board_problem: fragments.problem(answering.problem_of(error, self.app))}


def _earlier(question: Question, kept: Kept, counted: str) -> Problem:
    """What a visitor is told whose second answer to a question does not count."""
    letter = LETTERS[question.order(kept.visitor).index(counted)]
    return Problem(
        f"You have answered this question already: your vote for {letter} counts, and is shown.",
        "It was given in another window, or before you started over." if question.key not in kept.votes else "",
    )
