"""`quantlab inside`: what one method makes of a few numbers of a weight matrix, or of numbers that are typed."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from quantlab.cli import arguments
from quantlab.errors import BadInput
from quantlab.records.inside import InsideRequest

#: What plain integers have where only a part of them is told.
BITS, BLOCK = 4, "64"


def add(verbs: arguments.Verbs) -> None:
    asked = InsideRequest()
    inside = verbs.add_parser("inside", help="how a method turns the numbers of a weight matrix into few levels")
    inside.add_argument("--model", default=asked.model, help=arguments.MODEL)
    inside.add_argument("--layer", help="a linear layer by its name (default: the first)")
    inside.add_argument("--layers", action="store_true", help="list the model's linear layers, and nothing else")
    inside.add_argument("--precision", help=f"a method's grid (default {asked.precision})")
    inside.add_argument("--bits", type=int, help="plain integers of so many bits instead, 2 to 8")
    inside.add_argument("--block-size", help="numbers that share a scale, 16 to 4096; or row, or tensor")
    inside.add_argument("--zero-point", action="store_true", help="plain integers with a zero point")
    inside.add_argument("--beside", help="a second grid, set beside the first")
    inside.add_argument("--block", type=int, default=asked.block, help="which stretch of numbers, from 0")
    inside.add_argument("--numbers", type=int, default=asked.shown, help="how many are looked at together")
    inside.add_argument("--values", help="numbers to take instead of a model's: -0.4251,0.1872,-0.0031")
    inside.add_argument("--outliers", action="store_true", help="read a text, and show what outlier channels cost")
    inside.add_argument("--sigma", type=float, help="the spread of the channels to compute the losses at")
    inside.add_argument("--json", metavar="FILE", help="write it as JSON to a file, or - for standard output")


def glued(given: Sequence[str]) -> list[str]:
    """The arguments with what follows `--values` joined to it: argparse takes -0.4251,0.1872 for an option."""
    found = list(given)
    for place, word in enumerate(found[:-1]):
        if word == "--values":
            return [*found[:place], f"{word}={found[place + 1]}", *found[place + 2 :]]
    return found


def run(args: argparse.Namespace) -> int:
    if args.json and args.json != "-":
        arguments.check_writable(Path(args.json).absolute())

    from quantlab.cli import render
    from quantlab.export.codec import plain
    from quantlab.settings import app_settings
    from quantlab.teach import inside

    app, asked = app_settings(), _asked(args)
    if args.layers:
        print("\n".join(inside.layers(inside.resolved(args.model, app))))
        return 0
    found = inside.outliers(asked, app, args.sigma) if args.outliers else inside.look(asked, app)
    if args.json:
        text = json.dumps(plain(found), indent=1, ensure_ascii=False)
        print(text) if args.json == "-" else arguments.write(Path(args.json), text)
    if args.json != "-":
        render.show_inside(found)
    return 0


def _asked(args: argparse.Namespace) -> InsideRequest:
    """Raises BadInput for a precision beside the options of plain integers."""
    for name in ("model", "layer", "precision", "beside", "values"):
        if (typed := getattr(args, name)) is not None and not typed.strip():
            raise BadInput(f"--{name} was given nothing.", "Say what it shall be, or leave it out.")
    precision = args.precision
    if args.bits is not None or args.block_size is not None or args.zero_point:
        if precision is not None:
            raise BadInput(
                f"--precision {precision} has its own bits and blocks.",
                "Leave out --bits, --block-size and --zero-point, or --precision.",
            )
        from quantlab.teach.inside.grids import plain_name

        precision = plain_name(BITS if args.bits is None else args.bits, args.block_size or BLOCK, args.zero_point)
    return InsideRequest(
        args.model,
        args.layer or "",
        precision or InsideRequest.precision,
        args.beside or "",
        args.block,
        args.numbers,
        args.values or "",
    )
