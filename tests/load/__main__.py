"""Load: `make load`. Thirty visitors of a class vote at once on a public page of its own process, a teacher looks on.

Prints how long an answer takes (p50, p95), what the server holds in memory before and after, and which addresses it had
connections with. Ends with 1 where a vote is lost, p95 reaches 500 ms, memory grows by more than a tenth from the first
class to the last, or the server spoke to another host.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from quantlab.measure.statistics import percentile
from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import Classroom
from quantlab.teach.quiz.questions import LETTERS, Question, bundled

ROOT = Path(__file__).resolve().parents[2]
#: What a lesson may take, in seconds, and by how much memory may grow between its first round and its last.
P95_S, GROWTH = 0.5, 1.1
_LOCAL = ("127.", "::1", "::ffff:127.", "0.0.0.0")


@dataclass
class Watch:
    """What a server process did while it was looked at."""

    process: psutil.Process
    strangers: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def resident(self) -> int:
        return self.process.memory_info().rss

    def busy(self) -> float:
        """Seconds of processor time so far."""
        used = self.process.cpu_times()
        return used.user + used.system

    def follow(self) -> None:
        while not self.over.wait(0.05):
            for connection in self.process.net_connections("inet"):
                if connection.raddr and not connection.raddr.ip.startswith(_LOCAL):
                    self.strangers.add(connection.raddr.ip)


@dataclass
class Times:
    """Seconds of each kind of request, from many threads."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, kind: str, ask: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        found = ask()
        took = time.perf_counter() - begun
        with self.lock:
            self.seconds.setdefault(kind, []).append(took)
        return found

    def p(self, kind: str, percent: float) -> float:
        return percentile(self.seconds[kind], percent) or 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="classes, one after the other")
    parser.add_argument("--questions", type=int, default=10, help="votes of each visitor in each class")
    parser.add_argument("--think", type=float, default=3.0, help="seconds between two votes of a visitor, on average")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quantlab-load-") as folder:
        process, url = _serve(Path(folder))
        try:
            return _run(args, process, url, Path(folder) / "classroom.sqlite")
        finally:
            process.terminate()
            process.wait(30)


def _serve(folder: Path) -> tuple[subprocess.Popen, str]:
    """A public page in a process of its own, and its address."""
    outside = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    settings = {"QUANTLAB_PUBLIC": "1", "QUANTLAB_ALLOWED_MODELS": "demo", "PORT": "0"}
    files = {"QUANTLAB_CLASSROOM_FILE": folder / "classroom.sqlite", "QUANTLAB_CACHE_FOLDER": folder / "cache"}
    environment = os.environ | outside | settings | {name: str(file) for name, file in files.items()}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout or ():
        if "quantlab is at " in line:
            return process, line.split("quantlab is at ")[1].split()[0]
    raise SystemExit("the page did not start")


@dataclass
class Visitor:
    """One browser: its own session, and what it keeps of the quiz. What it asks goes the way that browsers take."""

    url: str
    number: int
    times: Times
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, timeout=120)
        self._session = f"load-{self.number}"

    def arrive(self) -> "Visitor":
        """Load the page, and have its first event answered: for that the server makes the visitor's session."""
        self.times.timed("page", lambda: self._http.get("/").raise_for_status())
        self.ask("first event", "quiz_next", None)
        return self

    def ask(self, kind: str, name: str, *data: Any) -> list[Any]:
        """What an event of the page gives back, by its name for programs."""
        sent = {"data": list(data), "session_hash": self._session}
        return self.times.timed(kind, lambda: self._answer(name, sent))

    def _answer(self, name: str, sent: dict[str, Any]) -> list[Any]:
        return self._http.post(f"gradio_api/run/{name}", json=sent).raise_for_status().json()["data"]

    def lesson(self, code: str, asked: tuple[Question, ...], think: float) -> None:
        """Join a class and vote: the right one two times of three, each thought over for a while of its own length."""
        visitor = f"visitor-{self.number:03}"
        self.kept = {"visitor": visitor, "code": "", "votes": {}, "at": asked[0].key}
        self.kept = self.ask("join", "quiz_join", code, self.kept)[0]
        for place, question in enumerate(asked):
            time.sleep(think * (0.5 + (7 * self.number + 3 * place) % 10 / 10))
            wanted = question.quantized if (self.number + place) % 3 else question.comparison.reference
            letter = LETTERS[question.order(visitor).index(wanted)]
            self.kept = self.ask("vote", "quiz_vote", letter, self.kept)[0]
            self.kept = self.ask("next", "quiz_next", self.kept)[0]


def _run(args: argparse.Namespace, process: subprocess.Popen, url: str, file: Path) -> int:
    watch, times = Watch(psutil.Process(process.pid)), Times()
    threading.Thread(target=watch.follow, daemon=True).start()
    asked, lost = bundled()[: args.questions], 0
    held: list[int] = []
    with ThreadPoolExecutor(args.visitors) as pool:
        teacher, *visitors = pool.map(lambda number: Visitor(url, number, times).arrive(), range(args.visitors + 1))
        begun = watch.busy()
        for _ in range(args.rounds):
            code, ended = teacher.ask("open", "class_open")[0], threading.Event()
            looking = threading.Thread(target=_look, args=(teacher, code, ended))
            looking.start()
            voting = [pool.submit(visitor.lesson, code, asked, args.think) for visitor in visitors]
            for each in voting:
                each.result()
            ended.set()
            looking.join()
            counted = Classroom(file, catalog(AppSettings(quiz_folder=None))).board(code)
            lost += args.visitors * len(asked) - sum(votes.total for votes in counted.votes)
            held.append(watch.resident())
            print(f"class {code}: {counted.visitors} visitors, server holds {held[-1] / 1e6:.0f} MB", flush=True)
    watch.over.set()
    answers = sum(len(seconds) for kind, seconds in times.seconds.items() if kind not in ("page", "first event"))
    print(f"the server's processor time: {(watch.busy() - begun) / answers * 1e3:.1f} ms an answer")
    print(f"the machine: {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    return _told(times, held, lost, watch.strangers)


def _look(teacher: Visitor, code: str, ended: threading.Event) -> None:
    while not ended.wait(3.0):
        teacher.ask("board", "class_board", code)


def _told(times: Times, held: list[int], lost: int, strangers: set[str]) -> int:
    for kind, seconds in sorted(times.seconds.items()):
        half, late = times.p(kind, 50) * 1e3, times.p(kind, 95) * 1e3
        print(f"{kind}: {len(seconds)} answers, p50 {half:.0f} ms, p95 {late:.0f} ms")
    print(f"memory after the first class {held[0] / 1e6:.0f} MB, after the last {held[-1] / 1e6:.0f} MB")
    print(f"votes lost: {lost}; other hosts: {', '.join(sorted(strangers)) or 'none'}")
    slow = max(times.p(kind, 95) for kind in ("join", "vote", "next", "board")) >= P95_S
    return int(slow or lost != 0 or bool(strangers) or held[-1] > GROWTH * held[0])


if __name__ == "__main__":
    sys.exit(main())
