"""The place in the queue, told to whoever waits. Gradio keeps the queue; the page asks while it shows that it waits."""

from typing import Any

import gradio as gr

from quantlab.ui import scripts
from quantlab.ui.common import runner
from quantlab.ui.common.tab import DEVICE_QUEUE, SMALL

#: The button that a script clicks while something waits.
ASK = "queue-ask"


def build() -> None:
    """Make it inside the current Blocks, once for all tabs."""
    root = gr.context.Context.root_block
    ask = gr.Button(visible="hidden", elem_id=ASK, elem_classes="for-scripts")
    told = gr.Textbox(visible="hidden", label="place in the queue")

    def place(request: gr.Request) -> str:
        return said(root, runner.session(request))

    ask.click(place, None, told, **SMALL).then(None, told, None, js=scripts.SHOW_PLACE)


def said(page: Any, session: str) -> str:
    """Who is before a session, in words; empty where nothing of it waits, or several runs do."""
    queue = page._queue.event_queue_per_concurrency_id[DEVICE_QUEUE["concurrency_id"]]
    waiting = [event.session_hash for event in list(queue.queue)]
    if waiting.count(session) != 1:
        return ""
    return words(queue.current_concurrency, waiting.index(session))


def words(running: int, before: int) -> str:
    """How many run and how many wait before one that waits."""
    if not before:
        return "Yours is next."
    others = f"{before} {'waits' if before == 1 else 'wait'} before yours"
    return f"{running} runs now, {others}." if running else f"{others[:1].upper()}{others[1:]}."
