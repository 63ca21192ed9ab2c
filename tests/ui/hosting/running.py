"""`python app.py`, or a program like it, in a process of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command: Sequence[str], folder: Path, log: Path, **environment: str) -> Iterator[Server]:
    """Until its page answers, at most four minutes; ended by force where it still runs at the end."""
    port = free_port()
    more: Mapping[str, str] = {"PORT": str(port), "OMP_NUM_THREADS": "1", **environment}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command], cwd=folder, env=os.environ | more, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}/", process, log)
    try:
        _wait(server)
        yield server
    finally:
        # A worker that was forked outlives its parent where that is killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(server: Server) -> None:
    for _ in range(2_400):
        if server.process.poll() is not None:
            raise AssertionError(f"it ended with {server.process.returncode}:\n{server.said()[-3_000:]}")
        try:
            if httpx.get(server.url + "config", timeout=5).status_code in (200, 401):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"no answer:\n{server.said()[-3_000:]}")
