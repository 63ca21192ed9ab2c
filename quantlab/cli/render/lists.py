"""What is offered, what is kept, what was written: short lists."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import narrow, printable
from quantlab.records import Estimate, units
from quantlab.teach.plan import words

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved
    from quantlab.checkpoints.store import CheckpointStore
    from quantlab.history import Entry
    from quantlab.models import Choice


def show_saved(saved: "Saved", console: Screen | None = None) -> None:
    """Where a quantized model was written, its size, and how long it took."""
    how = "copied from the cache; quantizing took" if saved.reused else "quantized in"
    took = f"{units.size(saved.nbytes)}, {how} {units.seconds(saved.build_s)}"
    (console or Screen(soft_wrap=True)).print(f"{escape(str(saved.folder))}: {took}", highlight=False)


def show_kept(store: "CheckpointStore", score_bytes: int = 0, console: Screen | None = None) -> None:
    """The quantized checkpoints on disk, and what the references' log-probabilities take."""
    entries, console = store.entries(), console or Screen(soft_wrap=True)
    held = units.size(sum(entry.nbytes for entry in entries))
    console.print(f"{held} of at most {units.size(store.limit)} in {escape(str(store.root))}", highlight=False)
    for entry in entries:  # a name stands alone: it is copied to `quantlab cache clear`
        used = entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
        console.print(f"[bold]{escape(entry.name)}[/]", highlight=False)
        took = units.seconds(entry.build_s)
        console.print(f"    {units.size(entry.nbytes)}, made in {took}, last used {used}", highlight=False)
    if score_bytes:
        console.print(f"log-probabilities of references: {units.size(score_bytes)}", highlight=False)


def show_history(entries: "Iterable[Entry]", console: Screen | None = None) -> None:
    """What was measured before, two lines for each: its number stands in front."""
    console = console or Screen(soft_wrap=True)
    for entry in entries:
        when = entry.started.astimezone().strftime("%Y-%m-%d %H:%M")
        finished, all_of = len(entry.finished), len(entry.precisions)
        state = "" if entry.state == "done" else f", {entry.state}{f' ({finished} of {all_of})' * (finished < all_of)}"
        state += "".join(f", {remark}" for remark in entry.remarks)
        what = escape(printable(f"{entry.model}: {entry.title}"))
        console.print(f"[bold]{entry.id}[/] {when} {entry.kind}{state}, {what}", highlight=False)
        console.print(f"    {escape(printable(', '.join(entry.precisions)))}", highlight=False)


def show_estimates(
    estimates: Iterable[Estimate], compute_dtype: str, console: Screen | None = None, context: int = 0
) -> None:
    """What can run here, with its estimated memory, and why the rest cannot; on a card with what `context` tokens
    take beside the weights."""
    estimates = list(estimates)
    card = next((it for it in estimates if it.card), None)
    console = console or Screen()
    sizes = ("memory",) if card is None else ("weights", "together")
    table = narrow("precisions", "precision", "bits", *sizes, "fits")
    for column in table.columns[1:-1]:
        column.justify = "right"
    table.add_column("what it is")
    for estimate in estimates:
        fits = "no" if estimate.unavailable else {True: "yes", False: "no", None: "?"}[estimate.fits]
        cells = (
            estimate.precision.name,
            units.NONE if estimate.estimated_bytes is None else units.number(estimate.precision.bits),
            units.size(estimate.estimated_bytes),
            *(() if card is None else (units.size(estimate.needed_bytes),)),
            fits,
        )
        why = f". Not here: it {estimate.unavailable}" if estimate.unavailable else ""
        table.add_row(*(escape(cell) for cell in (*cells, estimate.precision.summary + why)))
    console.print(table)
    if card is not None:
        console.print(escape(words.together(card.card, card.free_bytes, context)), highlight=False)
    console.print(words.computed(compute_dtype), highlight=False)


def show_models(choices: "Iterable[Choice]", console: Screen | None = None) -> None:
    """The models that can be named without a download."""
    table = narrow("models", "model")
    table.add_column("what it is")
    for choice in choices:
        table.add_row(escape(choice.name), escape(choice.description))
    (console or Screen()).print(table)
