"""SIGTERM: the running answer ends, nothing new begins, and all of it is over in bounded time."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from tests.ui.hosting.asking import ask, finished
from tests.ui.hosting.running import Server, running

ROOT = Path(__file__).parents[3]
PAGE = [sys.executable, "-m", "tests.ui.hosting.fake_page"]


def health(server: Server) -> dict[str, object]:
    return httpx.get(f"{server.url}healthz").json()


def in_thread(what: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(what())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


def until(what: Callable[[], bool]) -> None:
    for _ in range(400):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


@pytest.mark.slow
def test_the_running_answer_ends_and_new_ones_are_refused_in_words(tmp_path):
    with running(PAGE, ROOT, tmp_path / "log", PYTHONPATH=str(ROOT), GAP="0.1", QUANTLAB_PUBLIC="1") as server:
        first, late = (Client(server.url, verbose=False, download_files=False) for _ in range(2))
        running_one, answer = in_thread(lambda: ask(first))
        until(lambda: health(server)["running"] == 1)
        server.terminate()
        until(lambda: health(server)["status"] == "ending")
        assert httpx.get(f"{server.url}healthz").status_code == 503
        waiting, refused = in_thread(lambda: ask(late))
        running_one.join(30)
        waiting.join(30)
        assert finished(str(answer[0])) == 2, answer
        assert "about to end and begins nothing new" in str(refused[0])
        assert server.process.wait(30) == 0
        assert "All answers were given." in server.said() and "Traceback" not in server.said()


@pytest.mark.slow
def test_what_takes_too_long_is_cut_short(tmp_path):
    more = {"PYTHONPATH": str(ROOT), "GAP": "30", "QUANTLAB_SHUTDOWN_SECONDS": "0.5"}
    with running(PAGE, ROOT, tmp_path / "log", **more) as server:
        client = Client(server.url, verbose=False, download_files=False)
        running_one, answer = in_thread(lambda: ask(client))
        until(lambda: health(server)["running"] == 1)
        server.terminate()
        # Half a second, three for what was told to stop, five for gradio's own threads; the rest is a busy machine's.
        assert server.process.wait(40) == 0
        assert "Some answers were cut short." in server.said()
        running_one.join(10)
        # Its token could not be broken off in time, so that there is no record; the words are the same.
        assert answer == ["Cut short: this server ends. Ask again in a minute."]
