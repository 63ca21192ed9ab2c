"""The components of the tab Quiz."""

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class QuizParts:
    """`kept` is what the browser keeps, see kept.py. From `open` on the components are the teacher's."""

    kept: gr.BrowserState
    code: gr.Textbox
    join: gr.Button
    joined: gr.HTML
    question: gr.HTML
    letter: gr.Radio
    vote: gr.Button
    back: gr.Button
    next: gr.Button
    restart: gr.Button
    score: gr.HTML
    problem: gr.HTML
    open: gr.Button
    board_code: gr.Textbox
    show: gr.Button
    refresh: gr.Button
    board: gr.HTML
    board_problem: gr.HTML
    make: gr.Button
    made: gr.HTML

    def asked(self) -> list[gr.components.Component]:
        """What a student's event fills."""
        return [self.kept, self.code, self.joined, self.question, self.letter, self.vote, self.score, self.problem]
