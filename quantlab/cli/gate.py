"""`quantlab quality --fail-...`: limits for scripts, told by the exit code, line by line and as JUnit XML."""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from quantlab.cli.arguments import amount, check_writable, size, write
from quantlab.errors import BadInput
from quantlab.records import Quality
from quantlab.records.events import QualityEvent
from quantlab.reporting.advice.gate import Limits, Verdict, judge
from quantlab.reporting.advice.junit import junit, unfinished

#: Exit codes: a limit was broken; none was, but not everything could be measured. See `Verdict` for why in this order.
BROKEN, NOT_MEASURED = 3, 4
_CODES = {"held": 0, "broken": BROKEN, "not measured": NOT_MEASURED}


def add(verb: argparse.ArgumentParser) -> None:
    gate = verb.add_argument_group(
        "limits for scripts",
        "Every precision but the reference is held to each. Exit code 3: one is broken; 4: none is, but something "
        "could not be measured; 0: all hold.",
    )
    gate.add_argument(
        "--fail-above-kld", type=amount, metavar="X", help="the upper end of the mean KLD's 95 %% interval, in nats"
    )
    gate.add_argument("--fail-below-speed", type=amount, metavar="Y", help="the median decode speed, in tokens/s")
    gate.add_argument("--fail-above-memory", type=size, metavar="Z", help="stored memory: 200MB, 1.5GB")
    gate.add_argument("--junit", metavar="FILE", help="write the outcome of each limit as JUnit XML")


def limits(args: argparse.Namespace) -> Limits:
    """What was asked for. The file for JUnit is begun, so that it tells of this run from now on.

    Raises BadInput where it cannot be written or no limit was given.
    """
    found = Limits(args.fail_above_kld, args.fail_below_speed, args.fail_above_memory)
    if args.junit is not None:
        if not found:
            raise BadInput("--junit writes what became of the limits, and none was given.", "Add --fail-above-kld X.")
        if args.junit in ("", "-"):
            raise BadInput("--junit needs the name of a file.")
        check_writable(Path(args.junit).absolute())
        write(Path(args.junit), unfinished())
    return found


def check_columns(found: Limits, names: Sequence[str]) -> None:
    """Raises BadInput where nothing but the reference would run: limits that nothing is held to always pass."""
    if found and len(set(names)) < 2:
        raise BadInput("The reference alone is held to no limit.", "Name a second precision to hold to them.")


def clocked(events: Iterable[QualityEvent], seconds: dict[str, float]) -> Iterator[QualityEvent]:
    """The same events; what each precision took until them goes into `seconds`, without what is done with them."""
    begun = time.perf_counter()
    for event in events:
        if name := getattr(event, "precision", None) or getattr(getattr(event, "run", None), "precision", None):
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begun
        yield event
        begun = time.perf_counter()


def tell(args: argparse.Namespace, found: Limits, quality: Quality, seconds: dict[str, float]) -> int:
    """Show what became of the limits, write it where that was asked for, and give the exit code; 0 without limits."""
    if not found:
        return 0
    from quantlab.cli import render

    verdict: Verdict = judge(quality, found)
    render.show_gate(verdict, aside="-" in (args.json, args.card))
    if args.junit is not None:
        write(Path(args.junit), junit(quality, verdict, seconds))
    return _CODES[verdict.outcome]
