"""A quality run in the terminal: progress while it is measured, tables and advice afterwards."""

import threading
from collections.abc import Iterable, Iterator, Sequence

from rich.markup import escape

from quantlab.cli.render.progress import Line, ended, interrupt_sets, show_common
from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import NAME_WIDTH, broken, caution, narrow, printable
from quantlab.errors import Stopped
from quantlab.fidelity.summary import SAME_LAYERS, accuracy, same_layers, why_absent, with_error
from quantlab.measure import trust
from quantlab.records import Quality, QualityRun, events, units
from quantlab.reporting.advice import advise
from quantlab.reporting.advice.gate import Verdict
from quantlab.reporting.advice.recipes import Recipe, recipes
from quantlab.reporting.advice.sources import context

_STAGES = {"speed": "speed", "text": "reading", "tasks": "tasks", "layers": "layers", "again": "speed again"}
#: The same where each is a line of its own.
_TOLD = {"speed": "measuring its speed", "text": "reading the text", "tasks": "answering the tasks"} | {
    "layers": "looking into its layers",
    "again": "timing again",
}
_DISTANCE = ("KLD (nats)", "99 %", "same top")
_COST = ("perplexity ratio", "stored", "tokens/s")


def follow_quality(stream: Iterable[events.Event | events.QualityEvent], stop: threading.Event) -> Quality:
    """Show the events as they come and return the quality run. Ctrl-C sets `stop`; what is finished is kept.

    Raises Stopped where nothing had begun yet, KeyboardInterrupt for a second Ctrl-C.
    """
    with Line("reading") as line, interrupt_sets(stop, line):
        for event in stream:
            match event:
                case events.QualityStarted(text=text):
                    line.tell("text", text.scored, what=f"tokens of {text.name}")
                case events.Measuring(precision=name, stage=stage, done=done, total=total, left_s=left):
                    what = f"{_STAGES[stage]}, {units.seconds(left)} left" if left else _STAGES[stage]
                    line.tell(name, done, total, what)
                    line.stage(f"{name}: {_TOLD[stage]}")
                case events.Measured(run=run):
                    line.stage(f"{run.precision}: {ended(run)}")
                    line.tell(run.precision, what="failed" if run.error else "stopped" if run.stopped else "done")
                case events.QualityDone(quality=quality):
                    return quality
                case _:
                    show_common(event, line)
    raise Stopped


def show_quality(quality: Quality, bound: float, memory: int | None = None, console: Screen | None = None) -> None:
    """The figures, what failed, and what to take: `bound` and `memory` as in `advise`."""
    console = console or Screen()
    text = quality.text
    caution(quality.model, console)
    console.print(
        f"{escape(quality.model.name)} beside {escape(quality.reference)}: {text.scored:,} tokens of "
        f"{escape(printable(text.name))} in {text.windows} window{'s' * (text.windows != 1)} of {text.window_tokens}",
        highlight=False,
    )
    for headings, cells in ((_DISTANCE, _distance_cells), (_COST, _cost_cells)):
        figures = narrow("", "precision")
        for heading in headings:
            figures.add_column(heading, justify="right", no_wrap=True)
        for run in quality.runs:
            figures.add_row(escape(broken(run.precision, NAME_WIDTH)), *cells(run, quality))
        console.print(figures, end="\n\n")
    for few in {trust.few(run.fidelity.tokens) for run in quality.runs if run.fidelity} - {""}:
        console.print(f"[yellow]* {few}[/]\n")
    _show_tasks(quality, console)
    if quality.noise_floor is not None:
        floor = with_error(quality.noise_floor.kld.mean, quality.noise_floor.kld.se)
        console.print(f"noise floor: KLD {floor}, {escape(quality.floor)}", style="dim")
    else:
        console.print(f"noise floor: {escape(quality.floor)}", style="dim")
    for run in quality.runs:
        if run.error:
            console.print(f"[red]{escape(run.precision)}: {escape(run.error)}[/] {escape(run.advice)}")
        elif run.stopped:
            console.print(f"[yellow]{escape(run.precision)}: stopped[/]")
        elif run.fidelity is None:
            console.print(f"{escape(run.precision)}: {escape(why_absent(quality, run))}", style="dim")
        if run.fidelity is not None and run.fidelity.nonfinite:
            console.print(f"[yellow]{escape(run.precision)}: {run.fidelity.nonfinite:,} logits were no numbers[/]")
        if same_layers(run) and run.precision != quality.reference:
            console.print(f"{escape(run.precision)}: {SAME_LAYERS}", style="dim")
        elif run.layers and not run.error:
            worst = max(run.layers, key=lambda error: error.isolated)
            console.print(
                f"{escape(run.precision)}: the largest error of its own, {units.percent(worst.isolated)}, is in layer "
                f"{worst.layer}, {escape(worst.module)}",
                style="dim",
            )
    console.print()
    advice = advise(quality, bound, memory)
    for sentence in advice.sentences:
        console.print(escape(sentence), highlight=False)
    _show_recipes(recipes(quality, advice, context(quality.model)), console)


def _show_recipes(found: Sequence[Recipe], console: Screen) -> None:
    """Code as it is to be copied: not broken into lines, nothing of it markup."""
    for one in found:
        console.print(f"\n[bold]To run {escape(broken(one.precision, 60))}[/]: {escape(one.said)}", highlight=False)
        for block in one.blocks:
            if block.about:
                console.print(escape(block.about), highlight=False)
            console.print(f"\n{block.code}\n", soft_wrap=True, highlight=False, markup=False, emoji=False)


def show_gate(verdict: Verdict, aside: bool = False, console: Screen | None = None) -> None:
    """What became of each limit, a line each, on standard output; `aside`: on standard error."""
    console = console or Screen(stderr=aside)
    console.print()
    for check in verdict.checks:
        look = "red" if check.broken else "green" if check.measured else "yellow"
        told = f"[{look}]{escape(printable(check.sentence))}[/]"
        console.print(told, highlight=False, soft_wrap=True)  # a line each, for who reads them with a program


def _distance_cells(run: QualityRun, quality: Quality) -> Iterator[str]:
    found = run.fidelity
    if found is None or run.precision == quality.reference:
        yield "reference" if found else units.NONE
        yield from (units.NONE, units.NONE)
        return
    yield with_error(found.kld.mean, found.kld.se) + ("*" if trust.few(found.tokens) else "")
    yield units.number(found.kld.p99)
    yield units.percent(found.same_top)


def _cost_cells(run: QualityRun, quality: Quality) -> Iterator[str]:
    found = run.fidelity
    if found is not None and run.precision == quality.reference:
        yield f"perplexity {units.number(found.ppl.value, 4)}"
    else:
        yield with_error(found.ppl.ratio, found.ppl.ratio_se) if found else units.NONE
    yield units.size(run.load.stored_bytes if run.load else None)
    yield units.number(run.decode_tokens_per_s) + trust.around(run.decode_samples)


def _show_tasks(quality: Quality, console: Screen) -> None:
    for name in quality.tasks:
        rows = [(run.precision, run.tasks[name]) for run in quality.runs if name in run.tasks]
        if not rows:
            continue
        scores = narrow(f"{escape(name)}, {rows[0][1].items:,} items", "precision")
        for heading in ("accuracy", "lost", "won", "McNemar p"):
            scores.add_column(heading, justify="right", no_wrap=True)
        for precision, score in rows:
            flips = (units.percent(score.flips_lost), units.percent(score.flips_won), units.number(score.mcnemar_p))
            scores.add_row(escape(broken(precision, NAME_WIDTH)), accuracy(score), *flips)
        console.print(scores, end="\n\n")
