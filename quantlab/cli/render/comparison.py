"""A comparison in the terminal: progress while it runs, the answers and two tables afterwards."""

import threading
from collections.abc import Iterable, Iterator

from rich.markup import escape
from rich.table import Table

from quantlab.cli.render.progress import Line, ended, interrupt_sets, show_common
from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import NAME_WIDTH, broken, caution, narrow
from quantlab.errors import Stopped
from quantlab.measure import trust
from quantlab.measure.statistics import mean, median
from quantlab.records import Comparison, Load, Run, events, units
from quantlab.reporting.text import cut_at, tokens


def follow(stream: Iterable[events.Event | events.QualityEvent], stop: threading.Event) -> events.Done:
    """Show the events as they come and return the last. Ctrl-C sets `stop`; what is finished is kept.

    Raises Stopped where nothing had begun yet, KeyboardInterrupt for a second Ctrl-C.
    """
    with Line("reading") as line, interrupt_sets(stop, line):
        for event in stream:
            match event:
                case events.Started(precisions=names):
                    line.tell(units.counted(len(names), "precision"))
                case events.Token(precision=name, index=index):
                    line.tell(name, index + 1, what="tokens")
                    if index == 0:
                        line.stage(f"{name}: answering")
                case events.TimingAgain(precision=name, answers=answers):
                    line.tell(name, answers, what="answers timed")
                    line.stage(f"{name}: timing again")
                case events.Finished(run=run):
                    what = "failed" if run.error else "tokens, stopped" if run.stopped else "tokens, done"
                    line.tell(run.precision, len(run.token_ids), what=what)
                    line.stage(f"{run.precision}: {ended(run)}")
                case events.Done():
                    return event
                case _:
                    show_common(event, line)
    raise Stopped


def show(comparison: Comparison, console: Screen | None = None, replayed: bool = False) -> None:
    """The answers, then a table of their figures, then what to know of them."""
    console = console or Screen()
    if replayed:
        when = comparison.started.astimezone().strftime("%Y-%m-%d %H:%M")
        console.print(f"[yellow]Nothing ran: this was measured on {when}. --fresh measures again.[/]\n")
    caution(comparison.model, console)
    for run in comparison.runs:
        console.print(f"[bold]{escape(run.precision)}[/]{' (reference)' * (run.precision == comparison.reference)}")
        console.print(_answer(run, comparison.settings.max_new_tokens), end="\n\n")
    if all(run.error and run.load is None for run in comparison.runs):
        return
    for table in _tables(comparison):
        console.print(table)
        console.print()
    for run in comparison.runs:
        for note in _notes(run):
            console.print(f"{escape(run.precision)}: {escape(note)}", style="dim")
    machine = comparison.machine
    bandwidth = f", memory read at {machine.bandwidth / 1e9:.1f} GB/s" if machine.bandwidth else ""
    console.print(f"{escape(machine.device)}, {units.counted(machine.cores, 'core')}{bandwidth}", style="dim")
    if comparison.settings.race:
        console.print("[yellow]All ran at once: these timings do not count.[/]")
    elif said := trust.said([run for run in comparison.runs if not run.error]):
        console.print(escape(said), highlight=False)
    for few in dict.fromkeys(trust.few(len(run.differences)) for run in comparison.runs if run.differences):
        if few:
            console.print(f"[yellow]* {few}[/]")


def _notes(run: Run) -> tuple[str, ...]:
    """The kernel and what was really stored; what to know of it; where its layers lie, if not all in one place."""
    if run.load is None:
        return run.served.said if run.served else ()
    places = run.load.device_map
    spread = "; ".join(f"{name}: {device}" for name, device in places.items())
    details = "; ".join(f"{name} {value}" for name, value in run.load.details.items())
    what = [f"{run.load.kernel}; {details}"] if details else []
    if run.load.build_s is not None:
        what.append(f"quantizing took {units.seconds(run.load.build_s)}; the checkpoint is kept on disk")
    if run.load.mapped_bytes:
        what.append(f"{units.size(run.load.mapped_bytes)} of its memory are the file's own pages, mapped")
    first = [run.caution] if run.caution else []
    return (*first, *what, *run.load.notes, *([spread] if len(set(places.values())) > 1 else []))


def _answer(run: Run, longest: int) -> str:
    if run.error:
        return f"[red]{escape(run.error)}[/] {escape(run.advice)}"
    parted = run.first_divergence
    where = f"\n[dim]first differs from the reference at token {parted.index}[/]" if parted else ""
    cut = cut_at(run, longest)
    ended = " [yellow](stopped)[/]" if run.stopped else f" [dim](stopped at {tokens(cut)})[/]" if cut else ""
    return f"{escape(run.text)}{ended}{where}"


def _tables(comparison: Comparison) -> Iterator[Table]:
    """Two narrow tables instead of a wide one: a terminal has 80 columns."""
    title = f"{escape(comparison.model.name)}, reference {escape(comparison.reference)}"
    for headings, cells in ((_MEMORY, _memory_cells), (_SPEED, _speed_cells)):
        table = narrow(title, "precision")
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for run in comparison.runs:
            table.add_row(escape(broken(run.precision, NAME_WIDTH)), *cells(run))
        yield table
        title = ""


_MEMORY = ("stored", "bits/weight", "peak", "KV cache", "load")
_SPEED = ("first token", "gap", "tokens/s", "same top", "KLD (nats)")


def _memory_cells(run: Run) -> Iterator[str]:
    load, peak = run.load, run.peak
    yield units.size(load.stored_bytes if load else None)
    yield units.number(load.bits_per_weight if load else None)
    yield ("~" if peak and peak.estimate else "") + units.size(peak.bytes if peak else None)
    yield units.size(run.kv_cache_bytes)
    yield _loading(load)


def _loading(load: Load | None) -> str:
    """How long loading took, and how the variant came; what was in memory already took no time that says anything."""
    if load is None:
        return units.NONE
    return "in memory" if load.took_s is None else f"{units.seconds(load.took_s)} {load.load_origin}"


def _speed_cells(run: Run) -> Iterator[str]:
    timing, differences = run.timing, run.differences
    few = "*" if trust.few(len(differences)) else ""
    yield units.seconds(run.ttft_s) + trust.around(run.ttft_samples)
    yield units.seconds(median(timing.itl_s) if timing else None)
    yield units.number(run.decode_tokens_per_s) + trust.around(run.decode_samples)
    yield units.percent(mean([d.same_top for d in differences])) + few
    yield units.number(mean([d.kld for d in differences])) + few
