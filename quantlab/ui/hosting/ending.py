"""Until the server is told to end: SIGTERM lets running answers end, Ctrl+C does not."""

import logging
import signal
import sys
import threading
from collections.abc import Callable

import gradio as gr


def listen() -> threading.Event:
    """An event that SIGTERM sets, once: a second one ends the process at once. Call it before anybody is served."""
    told = threading.Event()

    def tell(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        told.set()

    signal.signal(signal.SIGTERM, tell)
    return told


def serve_until(told: threading.Event, page: gr.Blocks, end: Callable[[], bool]) -> None:
    """Block until Ctrl+C, or until `told`: then `end` is called, which lets running work end."""
    try:
        while page.is_running and not told.wait(0.5):
            pass
    except KeyboardInterrupt:
        print("Ctrl+C: the page is closed.", flush=True)
    if told.is_set():
        print("Told to end: what runs may finish, nothing new begins.", flush=True)
        print("All answers were given." if end() else "Some answers were cut short.", flush=True)
    page.close(verbose=False)


def log_access() -> None:
    """Write the access log to the standard error, once."""
    access = logging.getLogger("quantlab.access")
    if not access.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        access.addHandler(handler)
        access.setLevel(logging.INFO)
        access.propagate = False
