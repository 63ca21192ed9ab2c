"""`quantlab merge`: an adapter added to its weights, and what that costs."""

import argparse
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from quantlab.cli import arguments, gate
from quantlab.cli.arguments import MODEL, Verbs
from quantlab.cli.compare import failed
from quantlab.errors import BadInput, Stopped
from quantlab.finetune.costs import AGAIN, ORIGINAL, prepare
from quantlab.finetune.merging import DTYPES, merge
from quantlab.records import QualityRequest, QualitySettings
from quantlab.reporting.advice import KLD_BOUND


def add(verbs: Verbs) -> None:
    verb = verbs.add_parser("merge", help="add an adapter to its weights, or measure what that costs")
    verb.add_argument("--model", default="demo", help=MODEL)
    verb.add_argument("--adapter", required=True, metavar="NAME|DIR", help="as quantlab finetune wrote it, or peft")
    verb.add_argument("--out", metavar="DIR", help="a new folder for the merged weights, which transformers loads")
    verb.add_argument(
        "--onto", default=ORIGINAL, help=f"the weights that it is added to: {ORIGINAL}, or few bits such as nf4-dq"
    )
    verb.add_argument("--dtype", default=DTYPES[0], help=f"the type in which they are written: {', '.join(DTYPES)}")
    verb.add_argument(
        "--costs",
        action="store_true",
        help="hold merged weights, quantized again, against the adapter on the weights that it was trained on",
    )
    verb.add_argument("--again", default=",".join(AGAIN), metavar="NAMES", help="precisions for --costs")
    verb.add_argument("--tasks", default="", metavar="NAMES", help="tasks for --costs, as in quantlab quality")
    verb.add_argument("--windows", type=int, default=8, help="windows of 512 tokens for --costs")
    verb.add_argument("--text", metavar="FILE", help="the text for --costs, as in quantlab quality")
    verb.add_argument("--json", metavar="FILE", help="write what --costs measured; - prints it")
    arguments.add_placement(verb)


def run(args: argparse.Namespace) -> int:
    if args.costs == (args.out is not None):
        raise BadInput("Say what to do.", "Give --out DIR to write merged weights, or --costs to measure.")
    return _costs(args) if args.costs else _merge(args)


def _merge(args: argparse.Namespace) -> int:
    from quantlab.cli import render
    from quantlab.records.units import size

    stop = threading.Event()
    found = render.follow_steps(
        merge(args.model, args.adapter, args.out, args.onto, args.dtype, stop=stop), stop, "merging"
    )
    print(f"{found.folder}: {size(found.nbytes)} in {found.dtype}, the adapter added to {found.onto}.")
    print(f"For llama.cpp: quantlab quantize --model {found.folder} --precision q4_k_m --out FOLDER")
    return 0


def _costs(args: argparse.Namespace) -> int:
    from quantlab.cli import render
    from quantlab.cli.history import opened
    from quantlab.cli.quality import put, suiting_text, task_names
    from quantlab.export import to_json
    from quantlab.runs.recorded import recorded_quality

    settings = QualitySettings(
        windows=args.windows, tasks=task_names(args.tasks), layers=False, placement=arguments.placement(args)
    )
    read, stop = suiting_text(args.text, args.model), threading.Event()
    if args.json not in (None, "-"):
        arguments.check_writable(Path(args.json).absolute())
    again = tuple(name.strip() for name in args.again.split(",") if name.strip())
    found = render.follow_steps(prepare(args.model, args.adapter, again, stop=stop), stop, "merging")
    request = QualityRequest(args.model, found.columns, read, replace(settings, reference=found.reference))
    with closing(recorded_quality(opened(), request, stop=stop)) as events:
        quality = render.follow_quality(gate.clocked(events, {}), stop)
    if args.json != "-":
        render.show_quality(quality, KLD_BOUND)
    put(args.json, lambda: to_json(quality))
    if stop.is_set():
        raise Stopped
    return failed(quality.runs)
