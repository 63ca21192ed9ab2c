"""The command line's screen: progress on standard error while a comparison runs, tables afterwards."""

import re
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from quantlab.charts import units
from quantlab.charts.text import shortened
from quantlab.errors import Stopped
from quantlab.events import Done, Event, Finished, Loading, Started, Token
from quantlab.records import Comparison, Offer, Run

if TYPE_CHECKING:
    from quantlab.engine.disk import CheckpointStore
    from quantlab.models import Choice
    from quantlab.saving import Saved

T = TypeVar("T")


def follow(events: Iterator[Event], stop: threading.Event) -> Comparison:
    """Show the events as they come and return the comparison. Ctrl-C sets `stop`; what is finished is kept.

    Raises Stopped where nothing had begun yet, KeyboardInterrupt for a second Ctrl-C.
    """
    with _Line("reading") as line, _interrupt_sets(stop, line):
        for event in events:
            match event:
                case Started(precisions=names):
                    line.tell(f"{len(names)} precisions")
                case Loading(precision=name, done=done, total=total, what=what):
                    line.tell(f"load {name}" if name else "download", done, total, what)
                case Token(precision=name, index=index):
                    line.tell(name, index + 1, what="tokens")
                case Finished(run=run):
                    line.tell(run.precision, len(run.token_ids), what="failed" if run.error else "tokens, done")
                case Done(comparison=comparison):
                    return comparison
    raise Stopped


def follow_steps(steps: Generator[tuple[int, int, str], None, T], stop: threading.Event) -> T:
    """Show the progress of one long job and return its result. Ctrl-C sets `stop`. Raises what the job raises."""
    with _Line("quantizing") as line, _interrupt_sets(stop, line):
        while True:
            try:
                line.tell("quantizing", *next(steps))
            except StopIteration as end:
                return end.value


class _Line:
    """One line of progress on standard error."""

    def __init__(self, description: str) -> None:
        cells = [TextColumn("{task.fields[head]:<14}"), BarColumn(20), TextColumn("{task.fields[count]}")]
        self._progress = Progress(*cells, TextColumn("{task.fields[what]}"), console=Console(stderr=True))
        self._task = self._progress.add_task("", total=None, head=description, count="", what="")

    def __enter__(self) -> "_Line":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def tell(self, head: str, done: int = 0, total: int = 0, what: str = "") -> None:
        """`done` things of `total`; of a total that is not known, or was passed, nothing is shown."""
        (task,) = self._progress.tasks
        known = 0 < total >= done
        task.total = total if known else None  # update() takes None for "as it was"
        task.finished_time = None
        count = f"{done:,}/{total:,}" if known else f"{done:,}" if done else ""
        self._progress.update(
            self._task, completed=done, head=escape(shortened(head, 22)), count=count, what=escape(what[-_WHAT:])
        )


#: Characters of what is under way, its end: the line has 80 columns.
_WHAT = 24


def show_saved(saved: "Saved", console: Console | None = None) -> None:
    """Where a quantized model was written, its size, and how long it took."""
    how = "copied from the cache; quantizing took" if saved.reused else "quantized in"
    took = f"{units.size(saved.nbytes)}, {how} {units.seconds(saved.build_s)}"
    (console or Console(soft_wrap=True)).print(f"{escape(str(saved.folder))}: {took}", highlight=False)


def show_kept(store: "CheckpointStore", console: Console | None = None) -> None:
    """The quantized checkpoints on disk."""
    entries, console = store.entries(), console or Console(soft_wrap=True)
    held = units.size(sum(entry.nbytes for entry in entries))
    console.print(f"{held} of at most {units.size(store.limit)} in {escape(str(store.root))}", highlight=False)
    for entry in entries:  # a name stands alone: it is copied to `quantlab cache clear`
        used = entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
        console.print(f"[bold]{escape(entry.name)}[/]", highlight=False)
        took = units.seconds(entry.build_s)
        console.print(f"    {units.size(entry.nbytes)}, quantized in {took}, last used {used}", highlight=False)


@contextmanager
def _interrupt_sets(stop: threading.Event, line: _Line) -> Iterator[None]:
    """Let the first Ctrl-C set `stop`. Raised as an exception it would end the generator of events where it stands."""

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        line.tell("stopping", what="Ctrl-C again: at once")  # an import that is under way goes on to its end

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def show(comparison: Comparison, console: Console | None = None) -> None:
    """The answers, then a table of their figures, then what to know of them."""
    console = console or Console()
    if comparison.model.meaningless:
        console.print("[yellow]Random weights: the text means nothing, memory and speed do.[/]\n")
    for run in comparison.runs:
        console.print(f"[bold]{escape(run.precision)}[/]{' (reference)' * (run.precision == comparison.reference)}")
        console.print(_answer(run), end="\n\n")
    for table in _tables(comparison):
        console.print(table)
        console.print()
    for run in comparison.runs:
        for note in _notes(run):
            console.print(f"{escape(run.precision)}: {escape(note)}", style="dim")
    machine = comparison.machine
    bandwidth = f", memory read at {machine.bandwidth / 1e9:.1f} GB/s" if machine.bandwidth else ""
    console.print(f"{escape(machine.device)}, {machine.cores} cores{bandwidth}", style="dim")
    if comparison.settings.race:
        console.print("[yellow]All ran at once: these timings do not count.[/]")


def _notes(run: Run) -> tuple[str, ...]:
    """The kernel and what was really stored; what to know of it; where its layers lie, if not all in one place."""
    if run.load is None:
        return ()
    places = run.load.device_map
    spread = "; ".join(f"{name}: {device}" for name, device in places.items())
    details = "; ".join(f"{name} {value}" for name, value in run.load.details.items())
    what = [f"{run.load.kernel}; {details}"] if details else []
    if run.load.build_s is not None:
        what.append(f"quantizing took {units.seconds(run.load.build_s)}; the checkpoint is kept on disk")
    if run.load.mapped_bytes:
        what.append(f"{units.size(run.load.mapped_bytes)} of its memory are the file's own pages, mapped")
    return (*what, *run.load.notes, *([spread] if len(set(places.values())) > 1 else []))


def _answer(run: Run) -> str:
    if run.error:
        return f"[red]{escape(run.error)}[/] {escape(run.advice)}"
    parted = run.first_divergence
    where = f"\n[dim]parts from the reference at token {parted.index}[/]" if parted else ""
    return f"{escape(run.text)}{' [yellow](stopped)[/]' * run.stopped}{where}"


def _tables(comparison: Comparison) -> Iterator[Table]:
    """Two narrow tables instead of a wide one: a terminal has 80 columns."""
    title = f"{escape(comparison.model.name)}, reference {escape(comparison.reference)}"
    for headings, cells in ((_MEMORY, _memory_cells), (_SPEED, _speed_cells)):
        table = _table(title, "precision")
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for run in comparison.runs:
            table.add_row(escape(_broken(run.precision, _NAME_WIDTH)), *cells(run))
        yield table
        title = ""


def _table(title: str, *headings: str) -> Table:
    """A table without vertical lines, whose `headings` are over columns that do not wrap."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken behind its hyphens and the like wherever there are any."""
    lines = [""]
    for piece in re.findall(r"[^-_.:/@]*[-_.:/@]*", name):
        pieces = [piece[i : i + width] for i in range(0, len(piece), width)]
        for part in pieces:
            if len(lines[-1]) + len(part) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(lines)


#: Of a column's name, so that a table fits into 80 columns.
_NAME_WIDTH = 18
_MEMORY = ("stored", "bits/weight", "peak", "KV cache", "load")
_SPEED = ("first token", "gap", "tokens/s", "same top", "KLD (nats)")


def _memory_cells(run: Run) -> Iterator[str]:
    load = run.load
    yield units.size(load and load.stored_bytes)
    yield units.number(load and load.bits_per_weight)
    yield ("~" if run.peak and run.peak.estimate else "") + units.size(run.peak and run.peak.bytes)
    yield units.size(run.kv_cache_bytes)
    yield f"{units.seconds(load.load_s)} {load.load_origin}" if load else units.NONE


def _speed_cells(run: Run) -> Iterator[str]:
    timing, differences = run.timing, run.differences
    yield units.seconds(timing and timing.ttft_s)
    yield units.seconds(median(timing.itl_s) if timing and timing.itl_s else None)
    yield units.number(timing and timing.decode_tokens_per_s)
    yield units.percent(sum(d.same_top for d in differences) / len(differences) if differences else None)
    yield units.number(sum(d.kld for d in differences) / len(differences) if differences else None)


def show_offers(offers: Iterable[Offer], console: Console | None = None) -> None:
    """What can run here, with its estimated memory, and why the rest cannot."""
    table = _table("precisions", "precision", "bits", "memory", "fits")
    for column in table.columns[1:3]:
        column.justify = "right"
    table.add_column("what it is")
    for offer in offers:
        fits = "no" if offer.unavailable else {True: "yes", False: "no", None: "?"}[offer.fits]
        cells = (offer.precision.name, units.number(offer.precision.bits), units.size(offer.estimated_bytes), fits)
        why = f". Not here: it {offer.unavailable}" if offer.unavailable else ""
        table.add_row(*(escape(cell) for cell in (*cells, offer.precision.summary + why)))
    (console or Console()).print(table)


def show_models(choices: "Iterable[Choice]", console: Console | None = None) -> None:
    """The models that can be named without a download."""
    table = _table("models", "model")
    table.add_column("what it is")
    for choice in choices:
        table.add_row(escape(choice.name), escape(choice.description))
    (console or Console()).print(table)
