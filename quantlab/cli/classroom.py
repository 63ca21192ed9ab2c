"""`quantlab class`: a class of the quiz opened, or its board, without a browser."""

import argparse

from quantlab.cli import arguments
from quantlab.errors import Unavailable


def add(verbs: arguments.Verbs) -> None:
    verb = verbs.add_parser("class", help="the classes of the quiz: open one, see its board")
    actions = verb.add_subparsers(dest="action", required=True)
    actions.add_parser("open", help="open a class and print its code")
    board = actions.add_parser("board", help="what a class has answered so far")
    board.add_argument("code", metavar="CODE")


def run(args: argparse.Namespace) -> int:
    from quantlab.cli import render
    from quantlab.settings import app_settings
    from quantlab.teach.catalog import catalog
    from quantlab.teach.classroom import open_classroom

    app = app_settings()
    room = open_classroom(app, catalog(app))
    if room is None:
        raise Unavailable("There are no classes here.", "Set QUANTLAB_CLASSROOM_FILE to a file of your own.")
    if args.action == "open":
        print(room.open())
    else:
        render.show_board(room.board(args.code))
    return 0
