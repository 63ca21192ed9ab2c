"""Servers that misbehave: each costs its own column, in words, in bounded time and memory."""

import socket
import time

import pytest

from quantlab.settings import app_settings
from tests.served_columns import run_of
from tests.served_stand_in import Script, serving


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No server is waited for longer than a test may take."""
    monkeypatch.setattr(app_settings(), "served_seconds", 1.0)


def broken(what: str):
    """A reply that is no answer."""

    def reply(handler, path, body):
        match what:
            case "html":
                handler.say(b"<!doctype html><h1>It works</h1>", kind="text/html")
            case "redirect":
                handler.send_response(307)
                handler.send_header("location", "http://127.0.0.1:1/elsewhere")
                handler.send_header("content-length", "0")
                handler.end_headers()
            case "gone":
                handler.say({"detail": "Not Found"}, 404)
            case "fault":
                handler.say({"error": {"message": "out of memory\x1b[31m\n" + "x" * 3_000}}, 500)
            case "json":
                handler.say([1, 2, 3])
            case "nested":
                handler.say(b"[" * 100_000)
            case "endless body":
                handler.begin("application/json")
                while True:
                    handler.send(b"x" * 2**16)
            case "silent":
                time.sleep(3)
            case "hangs up":
                handler.connection.close()
        return True

    return reply


def stream(what: str):
    """A stream that goes wrong after its first piece."""

    def reply(handler, path, body):
        if path != "completions" or not body.get("stream"):
            return False
        handler.begin("text/event-stream")
        handler.send('data: {"choices": [{"text": "Once"}]}\n\n')
        match what:
            case "cut":
                pass
            case "silent":
                time.sleep(3)
            case "html":
                handler.send("<html>gateway timeout</html>\n")
            case "error":
                handler.send('data: {"error": {"message": "CUDA out of memory"}}\n\n')
            case "no json":
                handler.send("data: {broken\n\n")
            case "endless line":
                while True:
                    handler.send("data: " + "x" * 2**16)
            case "never ends":
                while True:
                    handler.send('data: {"choices": [{"text": " word"}]}\n\n')
            case "dribble":
                while True:
                    handler.send(": still here\n\n")
                    time.sleep(0.05)
        return True

    return reply


BROKEN = {
    "html": "answers with a web page",
    "redirect": "leads elsewhere, to 'http://127.0.0.1:1/elsewhere'",
    "gone": "no such API",
    "fault": "out of memory",
    "json": "no JSON",
    "nested": "no JSON",
    "endless body": "has no end",
    "silent": "said nothing for 1 s",
    "hangs up": "broke off",
}
STREAMS = {
    "cut": "broke off in the middle",
    "silent": "said nothing for 1 s",
    "html": "answers with a web page",
    "error": "CUDA out of memory",
    "no json": "no JSON",
    "endless line": "has no end",
    "never ends": "goes on after 12 tokens",
    "dribble": "took more than 4 s",
}


@pytest.mark.parametrize(("kind", "said"), BROKEN.items(), ids=BROKEN)
def test_a_server_that_gives_no_answer_costs_its_own_column(kind, said):
    with serving(Script(reply=broken(kind))) as spec:
        run = run_of(spec)
    assert said in (run.error or "") and run.text == "" and len(run.error or "") < 600 and "\x1b[31m" not in run.advice


@pytest.mark.parametrize(("kind", "said"), STREAMS.items(), ids=STREAMS)
def test_a_stream_that_goes_wrong_costs_its_own_column(kind, said, monkeypatch):
    if kind == "dribble":
        monkeypatch.setattr(app_settings(), "served_seconds", 0.4)
    with serving(Script(reply=stream(kind))) as spec:
        run = run_of(spec)
    # Silence is measured from byte to byte; a whole conversation has ten times as much.
    assert said in (run.error or "")


def test_nothing_that_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = run_of(f"openai:http://127.0.0.1:{port}/v1")
    assert run.error == f"Nothing answers at 127.0.0.1:{port}." and "Start the server" in run.advice
