"""docs/load.md: what was measured, on what, and what was asked."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from quantlab.measure.machine import machine
from tests.load.asking import NEW_TOKENS, PRECISIONS
from tests.load.scenes import SETTLES_S, Scene

_TEXT = """# Load

Written by `make load`: {programs} programs (`gradio_client`) and {browsers} browsers (Chromium) ask a public page at
once, on one machine that both serves and asks. Measured on {date} on {cpu}, {cores} cores, {memory:.1f} GB of memory,
`OMP_NUM_THREADS` {threads}; load average of the minute before it began {before:.1f}{busy}.

{table}

- **Asked** is one comparison of the bundled model at {columns}, greedy, {tokens} new tokens from a program (a browser
  leaves the page's own number). Every scene but the echo's begins with the model loaded.
- **First word** is when a visitor was first told anything: his place, or that his run begins. **Answer** is when all
  was there. **Refused p95** is when those were told so for whom it was full. Seconds from the asking.
- **Lost** are visitors who got neither an answer nor a refusal.
- **Memory** is what the server's process holds (resident): before anybody came, {settles:.0f} s after the last one
  went, and the most in between.
- The **echo page** is gradio alone giving back the text it was sent: what browsers, programs and gradio take.
{freed}
## One after the other

Runs do not overlap, so that their timings are true. The longest wait is the number of runs before it times what one
takes: here {longest}. Whoever waits knows that: a visitor was told {places:.1f} places on average, each with the time
that it is expected to take by the runs before.

## Voting

Thirty visitors of a class vote at once in `make load` too; it prints how long an answer takes and fails where p95
reaches 500 ms.
"""


def write(file: Path, scenes: Sequence[Scene], programs: int, browsers: int, load_before: float) -> None:
    here, own = machine("cpu"), next(it for it in scenes if it.title.startswith("each its own"))
    freed = next((it for it in scenes if it.freed_s is not None), None)
    told = [it.places for it in own.heard]
    cores = os.cpu_count() or 1
    file.write_text(
        _TEXT.format(
            programs=programs,
            browsers=browsers,
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            cpu=here.cpu,
            cores=cores,
            memory=here.memory_bytes / 1e9,
            threads=os.environ.get("OMP_NUM_THREADS", "its default"),
            before=load_before,
            busy=": the machine was busy, so that the figures are too long" if load_before > cores / 2 else "",
            table=_table(scenes),
            columns=" and ".join(PRECISIONS),
            tokens=NEW_TOKENS,
            settles=SETTLES_S,
            freed="" if freed is None else _freed(freed),
            longest=_seconds(own.seconds(100, lambda it: it.ended_s)),
            places=sum(told) / max(1, len(told)),
        )
    )


def _freed(scene: Scene) -> str:
    return (
        f"- **{scene.title[:1].upper()}{scene.title[1:]}**: answered are those who were told their place. They all "
        f"hung up then, and {scene.freed_s:.1f} s later a newcomer had the machine.\n"
    )


def _table(scenes: Sequence[Scene]) -> str:
    head = (
        *("scene", "asked", "answered", "refused", "lost", "first word p50", "p95", "refused p95", "answer p50", "p95"),
        *("longest", "memory before", "most", "after"),
    )
    lines = [head, tuple("---" if not number else "---:" for number, _ in enumerate(head))]
    lines += [_row(scene) for scene in scenes]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(scene: Scene) -> tuple[str, ...]:
    told, ended = attrgetter("told_s"), attrgetter("ended_s")
    return (
        scene.title,
        str(len(scene.heard)),
        *(str(scene.count(it)) for it in ("answered", "refused", "lost")),
        _seconds(scene.seconds(50, told)),
        _seconds(scene.seconds(95, told)),
        _seconds(scene.seconds(95, ended, "refused")),
        *(_seconds(scene.seconds(percent, ended)) for percent in (50, 95, 100)),
        *(f"{nbytes / 1e6:.0f} MB" for nbytes in (scene.before, scene.most, scene.after)),
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
