"""A stand-in for a program that serves a model over the API of OpenAI, which can misbehave."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What it answers by default, a token a piece.
WORDS = ("Once", " upon", " a", " time")


@dataclass
class Script:
    """How it behaves. `reply` takes the handler, the path and what was sent, and may answer itself (True)."""

    words: tuple[str, ...] = WORDS
    models: tuple[str, ...] = ("demo",)
    logprobs: bool = True
    chat_only: bool = False
    key: str | None = None
    gap_s: float = 0.0
    #: Body keys that it refuses.
    refuses: tuple[str, ...] = ()
    reply: Callable[["Handler", str, dict[str, Any]], bool] = lambda handler, path, body: False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    script: Script

    def log_message(self, *_told: object) -> None:
        """Nothing goes to the terminal."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        script, path = self.script, self.path.removeprefix("/v1/")
        script.asked.append((path, body))
        script.keys.append(self.headers.get("authorization"))
        if script.key and self.headers.get("authorization") != f"Bearer {script.key}":
            return self.say({"error": {"message": "no key"}}, 401)
        if script.reply(self, path, body):
            return None
        if path == "models":
            return self.say({"object": "list", "data": [{"id": name} for name in script.models]})
        if wrong := [name for name in script.refuses if name in body]:
            return self.say({"error": {"message": f"unknown parameter {wrong[0]}"}}, 400)
        if path not in ("completions", "chat/completions") or (script.chat_only and path == "completions"):
            return self.say({"detail": "Not Found"}, 404)
        if not body.get("stream"):
            return self.say(self._message(path, body, script.words[0], None) | {"usage": {"prompt_tokens": 3}})
        self.begin("text/event-stream")
        for word in script.words[: body["max_tokens"]]:
            time.sleep(script.gap_s)
            self.send(f"data: {json.dumps(self._message(path, body, word, None))}\n\n")
        self.send(f"data: {json.dumps(self._message(path, body, '', 'length'))}\n\ndata: [DONE]\n\n")
        return None

    def _message(self, path: str, body: dict[str, Any], word: str, ended: str | None) -> dict[str, Any]:
        likely = {word: -0.1, " other": -3.0}
        told: dict[str, Any] | None = None
        if self.script.logprobs and body.get("logprobs") and word:
            rows = [{"token": text, "logprob": value} for text, value in likely.items()]
            told = (
                {"content": [{"token": word, "logprob": -0.1, "top_logprobs": rows}]}
                if path.startswith("chat")
                else {"tokens": [word], "token_logprobs": [-0.1], "top_logprobs": [likely]}
            )
        said = (
            {"delta" if body.get("stream") else "message": {"content": word}}
            if path.startswith("chat")
            else {"text": word}
        )
        return {"choices": [{"index": 0, **said, "logprobs": told, "finish_reason": ended}]}

    def say(self, what: Any, status: int = 200, kind: str = "application/json") -> None:
        """A whole answer."""
        content = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self, kind: str) -> None:
        """The head of an answer whose end is the end of the connection."""
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()

    def send(self, text: str | bytes) -> None:
        self.wfile.write(text.encode() if isinstance(text, str) else text)
        self.wfile.flush()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_told: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The name of a column that the stand-in answers."""
    handler = type("Scripted", (Handler,), {"script": script})
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"openai:http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
