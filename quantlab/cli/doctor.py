"""`quantlab doctor`: what goes wrong again and again with quantized models, and whether it does here."""

import argparse
import json
from pathlib import Path

from quantlab.cli import arguments
from quantlab.records.pitfalls import WRONG


def add(verbs: arguments.Verbs) -> None:
    verb = verbs.add_parser(
        "doctor", help="look for the usual pitfalls on this machine and in a model; nothing is loaded"
    )
    verb.add_argument("--model", help=f"{arguments.MODEL}; default: the machine alone")
    verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    verb.add_argument("--json", metavar="FILE", help="write what was found as JSON to a file, or - for standard output")


def run(args: argparse.Namespace) -> int:
    """0 where nothing is wrong, 1 where something is."""
    if args.json not in (None, "-"):
        arguments.check_writable(Path(args.json).absolute())

    from quantlab.cli import render
    from quantlab.export.codec import plain
    from quantlab.settings import app_settings
    from quantlab.teach.pitfalls import diagnose

    found = diagnose(args.model, args.device, app_settings())
    if args.json != "-":
        render.show_pitfalls(found)
    if args.json is not None:
        data = {"schema": "quantlab.doctor/1", "model": args.model, "pitfalls": [plain(each) for each in found]}
        text = json.dumps(data, indent=1, ensure_ascii=False)
        if args.json == "-":
            print(text)
        else:
            arguments.write(Path(args.json), text)
    return int(any(each.state == WRONG for each in found))
