"""`quantlab plan` in the terminal."""

from collections.abc import Sequence

from rich.markup import escape

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import broken, narrow, printable
from quantlab.records import PARTS, Card, Plan, Planned, Suited, units
from quantlab.teach.plan import words

_PART_NAMES = {"mlp": "MLP", "output_head": "head", "quantization": "scales"}
_WIDTH = 14


def show_plan(plan: Plan, console: Screen | None = None) -> None:
    """The bytes by precision, the weights by part, and the cards."""
    console = console or Screen()
    weights = "" if plan.weights is None else f", {plan.weights:,} weights"
    each = f"{plan.batch:,} x {plan.context:,} tokens"
    console.print(escape(printable(f"{plan.model}{weights}, {each}\n")), highlight=False)
    there = [planned for planned in plan.precisions if not planned.refused]
    if there:
        _memory(there, console)
        _parts(there, console)
        _cards(there, console)
    for planned in plan.precisions:
        if planned.refused:
            console.print(escape(f"{planned.precision}: it {planned.refused}"), highlight=False)
    if plan.finetuned is not None:
        _finetuned(plan, console)
    for note in plan.notes:
        console.print(escape(note), highlight=False)
    if there and plan.compute_dtype:
        console.print(words.computed(plan.compute_dtype), highlight=False)


def _memory(there: Sequence[Planned], console: Screen) -> None:
    columns = ("precision", "weights", "KV cache", "activations*", "together")
    table = narrow("memory", *columns)
    for planned in there:
        kv = f"{units.size(planned.kv_cache_bytes)} {planned.kv}"
        row = (units.size(planned.stored_bytes), kv, units.size(planned.activation_bytes))
        table.add_row(broken(planned.precision, _WIDTH), *row, units.size(planned.total_bytes))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print("* an estimate; all else follows from the configuration\n", highlight=False)


def _parts(there: Sequence[Planned], console: Screen) -> None:
    parts = [part for part in PARTS if any(planned.parts[part] for planned in there)]
    table = narrow("weights by part", "precision", *(_PART_NAMES.get(part, part) for part in parts))
    for planned in there:
        table.add_row(broken(planned.precision, _WIDTH), *(units.size(planned.parts[part]) for part in parts))
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", False
    console.print(table)
    console.print()


def _cards(there: Sequence[Planned], console: Screen) -> None:
    cards = [fit.card for fit in there[0].fits]
    if len(cards) == 1:
        for planned in there:
            console.print(escape(words.verdict(planned, planned.fits[0])), highlight=False)
        table = narrow("most that fits, all else as it is", "precision", "longest context", "largest batch")
        for planned in there:
            fit = planned.fits[0]
            table.add_row(broken(planned.precision, _WIDTH), words.longest(fit), words.largest(fit))
    else:
        table = narrow("cards", "card", "memory", *(broken(planned.precision, _WIDTH) for planned in there))
        for place, card in enumerate(cards):
            fits = [planned.fits[place] for planned in there]
            table.add_row(
                card.name, units.size(card.nbytes), *("fits" if it.fits else f"{it.cards} cards" for it in fits)
            )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print()
    console.print(table)
    if len(cards) > 1:
        console.print("How many cards is by bytes alone. With --card one of them is told in full.", highlight=False)
    console.print()


def _finetuned(plan: Plan, console: Screen) -> None:
    trained = plan.finetuned
    if trained is None:
        return
    table = narrow("fine-tuning", *("activations*" if part == "activations" else part for part in trained.parts))
    table.add_row(*(units.size(nbytes) for nbytes in trained.parts.values()))
    for column in table.columns:
        column.justify = "right"
    console.print(table)
    for fit in trained.fits if len(trained.fits) == 1 else (None,):
        console.print(escape(words.trained(trained, fit)), highlight=False)
    if len(trained.fits) > 1:
        holding = ", ".join(fit.card.name for fit in trained.fits if fit.fits) or "none"
        console.print(escape(f"Cards that hold it: {holding}."), highlight=False)


def show_suited(
    found: Sequence[Suited], card: Card, context: int, batch: int, console: Screen | None = None, *, own: bool = False
) -> None:
    """For each model what it can be had at on one card. `own`: with no more tokens than it was made for."""
    console = console or Screen()
    title = f"{card.name}, {units.size(card.nbytes)}: most bits that fit with {batch:,} x {context:,} tokens"
    table = narrow(escape(title), "model", "precision", "together", "left", "longest context")
    for each in found:
        cells = ("", "", "")
        if each.planned is not None:
            fit = each.planned.fits[0]
            cells = (units.size(fit.nbytes), units.size(fit.left), words.longest(fit))
        name = "not read" if each.why else words.suited(each)
        table.add_row(*(escape(broken(printable(text), 24)) for text in (each.model, name)), *cells)
    for column in table.columns[2:]:
        column.justify = "right"
    console.print(table)
    if own:
        console.print("A model that was made for fewer tokens is planned with as many as that.", highlight=False)
    for each in found:
        if each.why:
            console.print(escape(printable(f"{each.model}: {each.why}")), highlight=False)
