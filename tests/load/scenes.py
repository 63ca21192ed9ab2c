"""What is tried, one scene after the other, each on a server of its own; and what came of it."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gradio_client import Client

from quantlab.measure.statistics import percentile
from tests.load import asking
from tests.load.asking import COMPARE, ECHO, Heard, Pages, compare, everybody
from tests.load.serving import Watch, page, started, watched

#: The server has this long to give back what the visitors took, in seconds, before its memory is read again.
SETTLES_S = 10.0


@dataclass(frozen=True)
class Scene:
    """What all visitors of one scene heard. Bytes are the server's resident memory."""

    title: str
    heard: tuple[Heard, ...]
    before: int
    after: int
    most: int
    strangers: int = 0
    #: Seconds from when all had hung up until a newcomer had the machine; None where nobody did.
    freed_s: float | None = None

    def count(self, outcome: str) -> int:
        return sum(it.outcome == outcome for it in self.heard)

    def seconds(self, percent: float, of: Callable[[Heard], float | None], outcome: str = "answered") -> float | None:
        found = [s for it in self.heard if it.outcome == outcome and (s := of(it)) is not None]
        return percentile(found, percent) if found else None


def echoed(programs: int, browsers: int) -> Scene:
    """Gradio by itself, asked by the same visitors."""
    with ExitStack() as stack:
        process, url = stack.enter_context(started([sys.executable, "-m", "tests.load.echo_page"], os.environ))
        watch = stack.enter_context(watched(process))
        return _scene("an echo page", watch, url, ECHO, programs, browsers, lambda number: f"Visitor {number}")


def asked(programs: int, browsers: int) -> list[Scene]:
    """All at once, each with a question of its own; then all of them with one that was answered before."""
    with ExitStack() as stack:
        watch, url = _page(stack)
        own = _scene(
            "each its own prompt", watch, url, COMPARE, programs, browsers, lambda n: f"Once there were {n + 2} foxes."
        )
        first = "Once there were 2 foxes."
        return [own, _scene("a prompt that was answered", watch, url, COMPARE, programs, 0, lambda _: first)]


def overfull(programs: int, each: int) -> Scene:
    """More questions at once than the queue holds. Whoever waits hangs up once all were told where they stand, and a
    newcomer comes."""
    with ExitStack() as stack:
        watch, url = _page(stack)
        before, clients = watch.resident(), asking.arrived(url, programs)
        since = time.perf_counter()
        jobs = [compare(client, f"Question {n} of {m}") for n, client in enumerate(clients) for m in range(each)]
        heard = [Heard("program") for _ in jobs]
        until = since + 120
        while time.perf_counter() < until and any(it.told_s is None for it in heard):
            for one, job in zip(heard, jobs, strict=True):
                if one.told_s is None and job.done() and (error := job.exception()) is not None:
                    one.ended(str(error), since, answered=False)
                elif one.told_s is None and (outputs := job.outputs()):
                    one.saw(str(outputs[-1]), since)
            time.sleep(0.1)
        for one in heard:
            if one.outcome == "lost" and one.told_s is not None:
                one.outcome = "answered"  # as far as it goes: it was told its place
        for client in clients:
            client.close()
        for job in jobs:
            job.cancel()
        left = time.perf_counter()
        newcomer = Client(url, verbose=False, download_files=False)
        job = compare(newcomer, "Is anybody there?")
        while not any("'loading'" in str(it) for it in job.outputs()) and time.perf_counter() < left + 120:
            time.sleep(0.05)
        freed = time.perf_counter() - left
        job.cancel()
        title = f"{len(jobs)} at once, of which the queue holds 128"
        return Scene(title, tuple(heard), before, _settled(watch), watch.most, len(watch.strangers), freed)


def _page(stack: ExitStack) -> tuple[Watch, str]:
    """A public page that has loaded what is asked for already."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantlab-load-")))
    process, url = stack.enter_context(page(folder))
    with asking.left([first := Client(url, verbose=False, download_files=False)]):
        assert asking.is_answer(str(compare(first, "Hello").result(300))), "the page does not answer"
    return stack.enter_context(watched(process)), url


def _scene(
    title: str, watch: Watch, url: str, where: Pages, programs: int, browsers: int, prompts: Callable[[int], str]
) -> Scene:
    before, watch.most = watch.resident(), 0
    heard = everybody(url, where, programs, browsers, prompts)
    return Scene(title, tuple(heard), before, _settled(watch), watch.most, len(watch.strangers))


def _settled(watch: Watch) -> int:
    time.sleep(SETTLES_S)
    return watch.resident()
