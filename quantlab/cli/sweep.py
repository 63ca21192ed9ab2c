"""`quantlab sweep FILE.yaml`: many models at many precisions, over many texts, resumable, with one report."""

import argparse
import sys
import threading
from contextlib import closing
from pathlib import Path

from quantlab.cli import arguments
from quantlab.cli.compare import REFUSED, SOME_FAILED
from quantlab.errors import Stopped


def add(verbs: arguments.Verbs) -> None:
    sweep = verbs.add_parser(
        "sweep",
        help="many models at many precisions over many texts, out of one file",
        description="Measure every model at every precision over every text, task and prompt of a YAML file. Called "
        "again it goes on where it was. What it found is in a folder: history.sqlite, report.html, .json, .csv.",
    )
    sweep.add_argument("file", type=Path, metavar="FILE.yaml", help="docs/scale.md shows a whole one")
    sweep.add_argument("--out", metavar="DIR", help="the sweep's folder (default: beside the file, FILE.sweep)")
    sweep.add_argument(
        "--plan",
        action="store_true",
        help="count the cells and what is there already, look every name up; measures and writes nothing",
    )
    sweep.add_argument("--retry", action="store_true", help="measure once more what failed")
    arguments.add_cluster(sweep)


def run(args: argparse.Namespace) -> int:
    from quantlab.runs.sweep.asked import folder_of, read

    if args.plan:
        return _plan(args)
    asked = read(args.file)
    folder = folder_of(asked, args.out)

    from quantlab.cli import render  # here, because torch comes with these
    from quantlab.runs.sweep.outcome import outcome
    from quantlab.runs.sweep.planning import jobs
    from quantlab.runs.sweep.reports import write
    from quantlab.runs.sweep.running import Progress, opened
    from quantlab.runs.sweep.running import run as run_all

    stop, planned, progress = threading.Event(), jobs(asked), Progress()
    with opened(folder) as history:
        with arguments.elsewhere(args) as on:
            at_once = 1 if on is None else on.at_once(len(asked.precisions))
            events = run_all(history, planned, progress, stop=stop, retry=args.retry, on=on, at_once=at_once)
            with closing(events):
                now = render.follow_sweep(events, stop)
        sweep = outcome(history, asked, planned, progress)
        written = write(folder, sweep)
    render.show_sweep(sweep, now)
    print(f"Written: {', '.join(map(str, written))}", file=sys.stderr)
    if stop.is_set():
        raise Stopped
    failed = [cell.outcome == "failed" for cell in sweep.cells]
    return REFUSED if failed and all(failed) else SOME_FAILED if any(failed) else 0


def _plan(args: argparse.Namespace) -> int:
    """What the file asks for, and what of it is there: every name is looked up, nothing is measured or written."""
    from quantlab.runs.sweep.asked import folder_of, looked_up

    asked, left_out = looked_up(args.file)

    from quantlab.cli import render  # here, because torch comes with these
    from quantlab.cli.render.screen import visible
    from quantlab.runs.sweep.planning import jobs
    from quantlab.runs.sweep.running import found, looked_into

    planned = jobs(asked)
    with looked_into(folder_of(asked, args.out)) as history:
        render.show_sweep_plan(planned, {} if history is None else found(history, planned))
    for told in left_out:
        print(visible(f"quantlab: {told}"), file=sys.stderr)
    return 0
