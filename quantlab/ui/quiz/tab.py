"""The tab of the quiz. What it does is in handlers.py."""

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.teach.quiz.questions import LETTERS
from quantlab.ui.common import fragments
from quantlab.ui.common.tab import SMALL
from quantlab.ui.quiz import fragments as html
from quantlab.ui.quiz.handlers import QuizHandlers
from quantlab.ui.quiz.kept import SECRET, STORAGE_KEY
from quantlab.ui.quiz.parts import QuizParts
from quantlab.ui.services import Services

#: For programs too, by these names: what a class does from its browsers can be tried out before the lesson.
#: Browsers do not queue for them; where a program's library does so all the same, nobody waits for another one.
_OPEN = SMALL | {"concurrency_limit": None}


def browser_state() -> gr.BrowserState:
    """What a visitor's browser keeps of the quiz and its class, for all tabs that ask the class."""
    return gr.BrowserState(None, storage_key=STORAGE_KEY, secret=SECRET)


def build(kept: gr.BrowserState, comparison: gr.State, app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired. `comparison` is the result of the tab Compare."""
    tab = gr.context.Context.block
    classes = app.classroom_file is not None
    gr.HTML(html.intro(classes), elem_id="quiz-intro", apply_default_css=False)
    with gr.Row(elem_id="quiz-class", visible=classes):
        code = gr.Textbox(
            label="Class code", placeholder="if you have one", max_lines=1, max_length=12,
            scale=0, min_width=230, elem_id="quiz-code",
        )  # fmt: skip
        join = gr.Button("Join", scale=0, min_width=80, elem_id="quiz-join")
        joined = gr.HTML(html.joined(""), elem_id="quiz-joined", apply_default_css=False)
    question = gr.HTML("", elem_id="quiz-question", apply_default_css=False)
    with gr.Row(elem_id="quiz-actions", elem_classes="actions"):
        letter = gr.Radio(list(LETTERS[:3]), label="Which one is quantized?", elem_id="quiz-letter", min_width=200)
        vote = gr.Button("Vote", variant="primary", scale=0, min_width=100, elem_id="quiz-vote")
        back = gr.Button("Back", scale=0, min_width=80, elem_id="quiz-back")
        following = gr.Button("Next question", scale=0, min_width=130, elem_id="quiz-next")
        restart = gr.Button("Start over", scale=0, min_width=100, elem_id="quiz-restart")
    problem = gr.HTML("", elem_id="quiz-problem", apply_default_css=False)
    score = gr.HTML("", elem_id="quiz-score", apply_default_css=False)
    student = (kept, code, join, joined, question, letter, vote, back, following, restart, score, problem)
    with gr.Accordion("For teachers", open=False, elem_id="class-teacher", visible=classes):
        teacher = _teacher(app)
    parts = QuizParts(*student, *teacher)
    _wire(parts, QuizHandlers(parts, app, services), tab, comparison)


def _teacher(app: AppSettings) -> tuple[gr.components.Component, ...]:
    makes = not app.public and app.quiz_folder is not None
    gr.HTML(html.for_teachers(app), elem_id="class-intro", apply_default_css=False)
    with gr.Row(elem_id="class-actions"):
        opened = gr.Button("Open a class", variant="primary", scale=0, min_width=130, elem_id="class-open")
        code = gr.Textbox(
            label="Code of a class", max_lines=1, max_length=12, scale=0, min_width=200, elem_id="class-code"
        )
        show = gr.Button("Show its board", scale=0, min_width=130, elem_id="class-show")
        refresh = gr.Button(visible="hidden", elem_id="class-refresh", elem_classes="for-scripts")
    problem = gr.HTML("", elem_id="class-problem", apply_default_css=False)
    board = gr.HTML("", elem_id="class-board", apply_default_css=False)
    with gr.Row(elem_id="quiz-making", visible=makes):
        make = gr.Button("Make a question of the last comparison", scale=0, min_width=280, elem_id="quiz-make")
        made = gr.HTML(fragments.said(""), elem_id="quiz-made", apply_default_css=False)
    return opened, code, show, refresh, board, problem, make, made


def _wire(parts: QuizParts, handlers: QuizHandlers, tab: gr.Tab, comparison: gr.State) -> None:
    asked, shown = parts.asked(), [parts.board, parts.board_problem]
    tab.select(handlers.show, parts.kept, asked, **SMALL)
    gr.on(
        [parts.join.click, parts.code.submit],
        handlers.join,
        [parts.code, parts.kept],
        asked,
        api_name="quiz_join",
        **_OPEN,
    )
    parts.vote.click(handlers.vote, [parts.letter, parts.kept], asked, api_name="quiz_vote", **_OPEN)
    parts.back.click(handlers.turn(-1), parts.kept, asked, **SMALL)
    parts.restart.click(handlers.restart, parts.kept, asked, **SMALL)
    parts.next.click(handlers.turn(1), parts.kept, asked, api_name="quiz_next", **_OPEN)
    parts.open.click(handlers.open, None, [parts.board_code, *shown], api_name="class_open", **_OPEN)
    gr.on(
        [parts.show.click, parts.board_code.submit],
        handlers.board,
        parts.board_code,
        shown,
        api_name="class_board",
        **_OPEN,
    )
    parts.make.click(handlers.make, [comparison, parts.kept], [*asked, parts.made], **SMALL)
    # A script clicks it while the board is in sight: see scripts.py.
    parts.refresh.click(handlers.board, parts.board_code, shown, **SMALL)
