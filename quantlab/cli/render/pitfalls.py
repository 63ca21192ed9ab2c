"""`quantlab doctor` in the terminal."""

from collections.abc import Sequence

from rich.markup import escape

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import printable
from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG, Pitfall

_STYLES = {FINE: "green", CARE: "yellow", WRONG: "red", UNSEEN: "dim"}


def show_pitfalls(found: Sequence[Pitfall], console: Screen | None = None) -> None:
    """Each pitfall: its state in words, what was seen, what it does, what to change."""
    console = console or Screen()
    for each in found:
        console.print(f"{each.name}: [{_STYLES[each.state]}]{each.state}[/]", highlight=False)
        lines = [each.seen, each.effect, each.change]
        for line in filter(None, lines):
            console.print(f"  {escape(printable(line))}", highlight=False)
        if each.code:
            console.print(f"  [dim]{escape(printable(each.code))}[/]", highlight=False)
        console.print()
