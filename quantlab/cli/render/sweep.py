"""A sweep in the terminal: a table of its models while it runs, its fronts afterwards."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from quantlab.cli.render.progress import Line, interrupt_sets
from quantlab.cli.render.screen import Screen, visible
from quantlab.cli.render.tables import NAME_WIDTH, broken, narrow, printable
from quantlab.records import units
from quantlab.records.swept import CellBegun, CellEnded, CellTold, Front, Place, Sweep, SweepEvent, SweepStarted
from quantlab.reporting.charts.sweep_front import table, title
from quantlab.reporting.html.swept import shown_fronts

#: So many models are in the table at once: those under way, and those around them.
_ROWS = 12
#: Of the points that are not on a front so many are shown in the terminal; the report has all.
_SHOWN = 12


class Board:
    """What is known of each model's cells while the sweep goes on; `measured` counts those that were measured now."""

    def __init__(self) -> None:
        self.cells: Mapping[str, int] = {}
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.now: dict[str, str] = {}
        self.measured = 0
        self._begun, self._ended = time.monotonic(), 0

    def see(self, event: SweepEvent) -> None:
        match event:
            case SweepStarted(cells=cells, earlier=earlier):
                self.cells, self.done = cells, Counter(earlier)
            case CellBegun(place=place, what=what):
                self.now[place.model] = f"{place.precision}: {what}"
            case CellEnded(earlier=True, place=place):  # counted at the start
                self.now.pop(place.model, None)
            case CellEnded(place=place, outcome=outcome):
                self._ended += 1
                self.measured += outcome == "done"
                self.done[place.model] += outcome != "stopped"
                self.failed[place.model] += outcome == "failed"
                self.now.pop(place.model, None)

    @property
    def left(self) -> int:
        return max(0, sum(self.cells.values()) - sum(self.done.values()))

    def table(self) -> Table:
        """A row a model, those under way in the middle, and the sum of all."""
        names = list(self.cells)
        at = next((i for i, name in enumerate(names) if self.done[name] < self.cells[name]), len(names))
        first = max(0, min(at - _ROWS // 2, len(names) - _ROWS))
        found = narrow("", "model", "cells", "failed", "now")
        for name in names[first : first + _ROWS]:
            found.add_row(
                *self._row(name, self.done[name], self.cells[name], self.failed[name], self.now.get(name, ""))
            )
        together = f"all {len(names)}" if len(names) > 1 else "all"
        total = (sum(self.done.values()), sum(self.cells.values()), sum(self.failed.values()))
        found.add_section()
        found.add_row(*self._row(together, *total, self._time_left()))
        return found

    def _row(self, name: str, done: int, of: int, failed: int, now: str) -> tuple[str, ...]:
        told = broken(printable(name), NAME_WIDTH + 6)
        return escape(told), f"{done:,}/{of:,}", f"{failed:,}" if failed else "", escape(visible(now)[-28:])

    def _time_left(self) -> str:
        """By the pace of the cells that were measured now."""
        if not self._ended or not self.left:
            return ""
        pace = (time.monotonic() - self._begun) / self._ended
        return f"about {units.seconds(pace * self.left)} left"


def follow_sweep(stream: Iterable[SweepEvent], stop: threading.Event) -> int:
    """Show the events as they come: a table on a terminal, else a line for each cell. Ctrl-C sets `stop`.

    Returns how many cells were measured now.
    """
    board, console = Board(), Screen(stderr=True)
    with Line("sweep") as line, interrupt_sets(stop, line):
        if not sys.stderr.isatty():
            for event in stream:
                board.see(event)
                _tell(event, board, line)
            return board.measured
    live = Live(console=console, refresh_per_second=4, get_renderable=board.table)
    with live, interrupt_sets(stop, _Aside(live)):
        for event in stream:
            board.see(event)
            if isinstance(event, CellTold) or (isinstance(event, CellEnded) and event.error and not event.earlier):
                live.console.print(_said(event), markup=False, highlight=False, soft_wrap=True)
    return board.measured


class _Aside(Line):
    """Where a stop is told while the table is on the screen."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def tell(self, head: str, done: int = 0, total: int = 0, what: str = "") -> None:
        self._live.console.print(f"{head}: {what}", markup=False, highlight=False)


def _tell(event: SweepEvent, board: Board, line: Line) -> None:
    if isinstance(event, SweepStarted):
        count, earlier = sum(event.cells.values()), sum(event.earlier.values())
        line.stage(f"{units.counted(count, 'cell')}, {earlier:,} there already")
    elif isinstance(event, CellTold) or (isinstance(event, CellEnded) and not event.earlier):
        line.stage(_said(event))


def _said(event: Any) -> str:
    if isinstance(event, CellTold):
        return f"{visible(event.model)}: {visible(event.why)}"
    error = f": {visible(event.error)}" if event.error else ""
    return f"{_placed(event.place)}: {event.outcome}{error}"


def _placed(place: Place) -> str:
    return printable(f"{place.model}, {place.precision}, {place.read[:40]}")


def show_sweep_plan(jobs: Sequence[Any], entries: Mapping[Any, Any], console: Screen | None = None) -> None:
    """How many cells each model has, and how many are there."""
    console = console or Screen()
    cells, there = Counter[str](), Counter[str]()
    for job in jobs:
        cells[job.request.model] += len(job.places)
        there[job.request.model] += len(entries[job].finished) if job in entries else 0
    title = f"{units.counted(sum(cells.values()), 'cell')}, {sum(there.values()):,} there already"
    found = narrow(title, "model", "cells", "there")
    for name, count in cells.items():
        found.add_row(escape(broken(printable(name), NAME_WIDTH + 20)), f"{count:,}", f"{there[name]:,}")
    console.print(found)


def show_sweep(sweep: Sweep, now: int, console: Screen | None = None) -> None:
    """The fronts, and what became of the cells, `now` of them measured just now; the report has everything."""
    console = console or Screen()
    for front in shown_fronts(sweep):
        _show_front(front, console)
    failed = [cell for cell in sweep.cells if cell.outcome == "failed"]
    done = sum(cell.outcome == "done" for cell in sweep.cells)
    left = len(sweep.cells) - done - len(failed) + sweep.missing
    counts = f"{max(0, done - now):,} there already, {len(failed):,} failed, {left:,} not measured"
    console.print(f"{units.counted(now, 'cell')} measured now, {counts}.", highlight=False)
    for cell in failed[:_SHOWN]:
        console.print(f"{_placed(cell.place)}: {visible(cell.error)} {visible(cell.advice)}", markup=False)
    if len(failed) > _SHOWN:
        console.print(f"... and {len(failed) - _SHOWN:,} more, in the report.")


def _show_front(front: Front, console: Screen) -> None:
    told = table(front)
    found = narrow(escape(printable(title(front))), "model", "precision", "stored", front.measure, "front")
    rows = [row for row in told.rows if row[-1] == "yes" or len(told.rows) <= _SHOWN]
    for model, precision, *others in rows:
        found.add_row(broken(escape(printable(model)), NAME_WIDTH), broken(precision, NAME_WIDTH), *others)
    console.print(found)
    if hidden := len(told.rows) - len(rows):
        console.print(f"{hidden:,} more are not on it.")
    console.print()
