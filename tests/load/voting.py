"""Thirty visitors of a class vote at once on a public page of its own process, a teacher looks on.

Prints how long an answer takes (p50, p95), what the server holds in memory before and after, and which addresses it had
connections with. It has failed where a vote is lost, p95 reaches 500 ms, memory grows by more than a tenth from the
first class to the last, or the server spoke to another host.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from quantlab.measure.statistics import percentile
from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import Classroom
from quantlab.teach.quiz.questions import LETTERS, Question, bundled
from tests.load.serving import Watch, page, watched

#: What a lesson may take, in seconds, and by how much memory may grow between its first round and its last.
P95_S, GROWTH = 0.5, 1.1


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


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="classes, one after the other")
    parser.add_argument("--questions", type=int, default=10, help="votes of each visitor in each class")
    parser.add_argument("--think", type=float, default=3.0, help="seconds between two votes of a visitor, on average")


def voted(args: argparse.Namespace) -> bool:
    """Whether all went well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantlab-load-")))
        process, url = stack.enter_context(page(folder))
        return _run(args, stack.enter_context(watched(process)), url, folder / "classroom.sqlite")


@dataclass
class Visitor:
    """One browser: its own session, and what it keeps of the quiz. What it asks goes the way that browsers take."""

    url: str
    number: int
    times: Times
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, timeout=120)
        self._session, self._events = f"load-{self.number}", dict[str, int]()

    def arrive(self) -> "Visitor":
        """Load the page, and have its first event answered: for that the server makes the visitor's session."""
        self.times.timed("page", lambda: self._http.get("/").raise_for_status())
        events = self._http.get("config").raise_for_status().json()["dependencies"]
        self._events = {it["api_name"]: it["id"] for it in events}
        self.ask("first event", "quiz_next", None)
        return self

    def ask(self, kind: str, name: str, *data: Any) -> list[Any]:
        """What an event of the page gives back, asked as a browser asks: over the queue."""
        sent = {"data": list(data), "fn_index": self._events[name], "session_hash": self._session}
        return self.times.timed(kind, lambda: self._answer(sent))

    def _answer(self, sent: dict[str, Any]) -> list[Any]:
        self._http.post("gradio_api/queue/join", json=sent).raise_for_status()
        with self._http.stream("GET", "gradio_api/queue/data", params={"session_hash": self._session}) as told:
            for line in told.iter_lines():
                event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if event.get("msg") == "process_completed":
                    return event["output"]["data"]
        raise AssertionError("the answer ended too soon")

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


def _run(args: argparse.Namespace, watch: Watch, url: str, file: Path) -> bool:
    times = Times()
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
    answers = sum(len(seconds) for kind, seconds in times.seconds.items() if kind not in ("page", "first event"))
    print(f"the server's processor time: {(watch.busy() - begun) / answers * 1e3:.1f} ms an answer")
    print(f"the machine: {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    return _told(times, held, lost, watch.strangers)


def _look(teacher: Visitor, code: str, ended: threading.Event) -> None:
    while not ended.wait(3.0):
        teacher.ask("board", "class_board", code)


def _told(times: Times, held: list[int], lost: int, strangers: set[str]) -> bool:
    for kind, seconds in sorted(times.seconds.items()):
        half, late = times.p(kind, 50) * 1e3, times.p(kind, 95) * 1e3
        print(f"{kind}: {len(seconds)} answers, p50 {half:.0f} ms, p95 {late:.0f} ms")
    print(f"memory after the first class {held[0] / 1e6:.0f} MB, after the last {held[-1] / 1e6:.0f} MB")
    print(f"votes lost: {lost}; other hosts: {', '.join(sorted(strangers)) or 'none'}")
    slow = max(times.p(kind, 95) for kind in ("join", "vote", "next", "board")) >= P95_S
    return not (slow or lost or strangers or held[-1] > GROWTH * held[0])
