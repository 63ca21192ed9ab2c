"""Tables that fit a terminal of 80 columns."""

import re

from rich import box
from rich.markup import escape
from rich.table import Table

from quantlab.cli.render.screen import Screen, visible
from quantlab.records import Model


def narrow(title: str, *headings: str) -> Table:
    """A table without vertical lines, whose `headings` are over columns that do not wrap."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken behind its hyphens and the like wherever there are any."""
    lines = [""]
    for piece in re.findall(r"[^-_.:/@]*[-_.:/@]*", name):
        pieces = [piece[i : i + width] for i in range(0, len(piece), width)]
        for part in pieces:
            if len(lines[-1]) + len(part) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(lines)


def caution(model: Model, console: Screen) -> None:
    """What is to be known of a model's weights, before every result of theirs."""
    if model.caution:
        console.print(f"[yellow]{escape(model.caution)}[/]\n")


#: Of a column's name, so that a table fits into 80 columns.
NAME_WIDTH = 18


def printable(text: str) -> str:
    """Text from elsewhere in one line, what steers a terminal made visible."""
    return visible(" ".join(text.split("\n"))).replace("\t", " ")
