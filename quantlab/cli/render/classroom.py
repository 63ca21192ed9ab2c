"""`quantlab class board` in the terminal."""

from rich.markup import escape

from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import narrow, printable
from quantlab.records import units
from quantlab.teach.classroom.board import Board


def show_board(board: Board, console: Screen | None = None) -> None:
    """What a class answered: by precision, by question, and how far predictions are off."""
    console = console or Screen()
    console.print(f"Class {board.code}: {board.visitors} visitor{'' if board.visitors == 1 else 's'}", highlight=False)
    for found in board.found:
        console.print(escape(printable(found.sentence)), highlight=False)
    if board.votes:
        table = narrow("Votes", "right")
        table.add_column("votes for")
        table.add_column("question")
        for votes in board.votes:
            right = units.NONE if votes.right is None else f"{votes.right} of {votes.total}"
            counts = ", ".join(f"{choice} {count}" for choice, count in votes.counts)
            table.add_row(right, escape(printable(counts)), escape(printable(votes.asked.title)))
        console.print(table)
    for made in board.predictions:
        truth = made.asked.truth
        shown = units.number(truth) if isinstance(truth, int | float) else units.NONE
        title = f"{made.asked.title}: it is {shown} {made.asked.unit}, middle prediction {units.number(made.median)}"
        table = narrow(escape(printable(title)), "predictions", "off by")
        for name, count in made.bins:
            table.add_row(str(count), name)
        console.print(table)
    if board.gone:
        console.print(f"{board.gone} answers are to questions that are not asked any more.", highlight=False)
