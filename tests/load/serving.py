"""Pages in processes of their own, and what is seen of such a process from outside."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
_LOCAL = ("127.", "::1", "::ffff:127.", "0.0.0.0")
_SAYS = "quantlab is at "


@dataclass
class Watch:
    """What a server process did while it was looked at."""

    process: psutil.Process
    strangers: set[str] = field(default_factory=set)
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def resident(self) -> int:
        return self.process.memory_info().rss

    def busy(self) -> float:
        """Seconds of processor time so far."""
        used = self.process.cpu_times()
        return used.user + used.system

    def follow(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, self.resident())
            for connection in self.process.net_connections("inet"):
                if connection.raddr and not connection.raddr.ip.startswith(_LOCAL):
                    self.strangers.add(connection.raddr.ip)


@contextmanager
def watched(process: subprocess.Popen) -> Iterator[Watch]:
    watch = Watch(psutil.Process(process.pid))
    thread = threading.Thread(target=watch.follow, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


@contextmanager
def page(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen, str]]:
    """A public page with the bundled model, and its address."""
    outside = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", **(settings or {})}
    public = {"QUANTLAB_PUBLIC": "1", "QUANTLAB_ALLOWED_MODELS": "demo", "PORT": "0"}
    files = {"QUANTLAB_CLASSROOM_FILE": folder / "classroom.sqlite", "QUANTLAB_CACHE_FOLDER": folder / "cache"}
    environment = os.environ | public | outside | {name: str(file) for name, file in files.items()}
    with started([sys.executable, "app.py"], environment) as found:
        yield found


@contextmanager
def started(command: list[str], environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server that prints its address as the page does, until the block ends."""
    process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            if _SAYS in line:
                yield process, line.split(_SAYS)[1].split()[0]
                return
        raise SystemExit("the page did not start")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
