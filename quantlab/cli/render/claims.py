"""`quantlab claims` in the terminal."""

from rich.markup import escape

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import printable
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims

#: No meaning by colour alone: the words stand beside it.
_STYLES = {HOLDS: "green", FAILS: "red", UNTESTED: "yellow"}


def show_claims(found: Claims, console: Screen | None = None) -> None:
    """Each claim with its verdict and the reason, then how many of each there are."""
    console = console or Screen()
    console.print(escape(printable(f"{found.model} on {found.machine.device}")), "\n", highlight=False)
    for verdict in found.verdicts:
        outcome = f"[{_STYLES[verdict.outcome]}]{verdict.outcome}[/]"
        console.print(f"{verdict.number:>2}. {escape(verdict.claim)}", highlight=False)
        console.print(f"    {outcome}: {escape(printable(verdict.why))}\n", highlight=False)
    console.print(found.counted, highlight=False)
