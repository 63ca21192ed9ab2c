"""`quantlab claims`: what is said of quantization, tested on this machine."""

import argparse
import threading
from pathlib import Path

from quantlab.cli import arguments
from quantlab.errors import BadInput


def add(verbs: arguments.Verbs) -> None:
    verb = verbs.add_parser("claims", help="test on this machine what is said of quantization: 25 claims with verdicts")
    verb.add_argument("--model", default="demo", help=arguments.MODEL)
    verb.add_argument("--only", metavar="N,...", help="the numbers of claims; what none needs is not run")
    verb.add_argument("--windows", type=int, default=8, help="how many windows of 512 tokens are read at most")
    verb.add_argument("--json", metavar="FILE", help="write the verdicts as JSON to a file, or - for standard output")
    verb.add_argument("--html", metavar="FILE", help="write a report of rules, verdicts and figures that loads nothing")


def run(args: argparse.Namespace) -> int:
    only = () if args.only is None else _numbers(args.only)
    if args.windows < 1:
        raise BadInput("At least one window of the text is needed.", "Raise the number of windows.")
    for file in (args.json, args.html):
        if file not in (None, "-"):
            arguments.check_writable(Path(file).absolute())
    if args.json == "-" == args.html:
        raise BadInput("--json - and --html - would be mixed up.", "Name a file for one of them.")

    from quantlab.cli import render
    from quantlab.reporting.html.claims import claims_html
    from quantlab.teach.claims.exported import to_json
    from quantlab.teach.claims.measuring import claims

    stop = threading.Event()
    found = render.follow_steps(claims(args.model, only, args.windows, stop=stop), stop, "testing claims")
    if "-" not in (args.json, args.html):
        render.show_claims(found)
    if args.json is not None:
        _put(args.json, to_json(found))
    if args.html is not None:
        _put(args.html, claims_html(found))
    return 0


def _put(file: str, text: str) -> None:
    if file == "-":
        print(text)
    else:
        arguments.write(Path(file), text)


def _numbers(typed: str) -> tuple[int, ...]:
    words = [word.strip() for word in typed.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 4 for word in words):
        raise BadInput(f"--only takes numbers of claims, not {typed!r}.", "Give some such as 4,7,17.")
    return tuple(dict.fromkeys(map(int, words)))
