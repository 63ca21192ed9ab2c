"""What the events of the tab Quiz do. Each answers at once: nothing is computed but a board."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.settings import AppSettings
from quantlab.teach.classroom import Classroom
from quantlab.teach.quiz.questions import LETTERS, Question, by_key
from quantlab.ui.common import fragments
from quantlab.ui.common.problem import Problem
from quantlab.ui.quiz import fragments as html
from quantlab.ui.quiz import kept as browser
from quantlab.ui.quiz.kept import Kept
from quantlab.ui.quiz.parts import QuizParts
from quantlab.ui.services import Services

Updates = dict[Any, Any]
log = logging.getLogger(__name__)
_AGAIN = "This question has your vote already: the first one counts."


class QuizHandlers:
    """Bound to one page's tab."""

    def __init__(self, parts: QuizParts, app: AppSettings, services: Services) -> None:
        self.parts, self.app, self.services = parts, app, services

    def show(self, kept: Any) -> Updates:
        """The question where the visitor was, and the class, if it is still there."""
        questions = self.services.quiz()
        found, problem = browser.read(kept, questions), None
        if found.code:
            try:
                self._classroom().found(found.code)
            except BadInput as error:
                found, problem = replace(found, code=""), Problem(error.what, error.advice)
            except QuantlabError as error:
                problem = self._problem(error)
        return self._shown(found, questions, problem) | {self.parts.code: found.code}

    def join(self, code: str, kept: Any) -> Updates:
        """Join the class of a code, or leave it with an empty one."""
        questions = self.services.quiz()
        found = browser.read(kept, questions)
        if not str(code or "").strip():
            return self._shown(replace(found, code=""), questions)
        try:
            joined = self._classroom().found(code)
        except QuantlabError as error:
            return self._shown(replace(found, code=""), questions, self._problem(error))
        return self._shown(replace(found, code=joined), questions) | {self.parts.code: joined}

    def vote(self, letter: str | None, kept: Any) -> Updates:
        """Vote for an answer of the question that is shown, once; what is revealed stays revealed."""
        questions = self.services.quiz()
        found = browser.read(kept, questions)
        try:
            question = by_key(questions, found.at)
            if question.key in found.votes:
                return self._shown(found, questions, Problem(_AGAIN))
            if not letter:
                raise BadInput("Nothing is chosen.", "Choose one of the answers, then vote.")
            precision = question.chosen(str(letter), found.visitor)
            new = not found.code or self._classroom().answer(found.code, question.key, found.visitor, precision)
        except QuantlabError as error:
            return self._shown(found, questions, self._problem(error))
        return self._shown(found.voted(question, precision), questions, None if new else Problem(_AGAIN))

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
            classroom = self._classroom()
            code = classroom.open()
        except QuantlabError as error:
            return self._board_problem(error)
        return {self.parts.board_code: code} | self.board(code)

    def board(self, code: str) -> Updates:
        """The board of a class as it is now."""
        try:
            found = self._classroom().board(code)
        except QuantlabError as error:
            return self._board_problem(error) | {self.parts.board: ""}
        return {self.parts.board: html.board(found), self.parts.board_problem: ""}

    def _shown(self, kept: Kept, questions: Sequence[Question], problem: Problem | None = None) -> Updates:
        parts = self.parts
        shown: Updates = {
            parts.kept: kept.data(),
            parts.joined: html.joined(kept.code),
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

    def _classroom(self) -> Classroom:
        """Raises Unavailable or BadInput where there are no classes."""
        found = self.services.classroom()
        if found is None:
            raise BadInput("There are no classes on this page.", "The quiz works without one.")
        return found

    def _board_problem(self, error: QuantlabError) -> Updates:
        return {self.parts.board_problem: fragments.problem(self._problem(error))}

    def _problem(self, error: QuantlabError) -> Problem:
        """As a visitor reads it. In public nobody is told where the file lies."""
        if self.app.public and not isinstance(error, BadInput):
            log.warning("%s", error)
            return Problem("The classes cannot be used at the moment.", "Try again; the quiz works without one.")
        return Problem(error.what, error.advice)
