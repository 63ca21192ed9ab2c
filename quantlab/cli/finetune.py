"""`quantlab finetune`: adapters trained on a frozen base, quantized or not."""

import argparse
import threading
from dataclasses import fields

from quantlab.cli.arguments import MODEL, Verbs, add_placement, placement
from quantlab.errors import Stopped
from quantlab.records.finetuning import FinetuneSettings

_DEFAULT = FinetuneSettings()
_ROWS = "JSONL with text, prompt and completion, or messages; or CSV with two columns"
_OUT = "where the adapter goes; a training that was broken off there goes on"
_HELP = {
    "rank": "of the adapters' two matrices",
    "alpha": "what an adapter adds is multiplied by alpha / rank",
    "dropout": "share of an adapter's inputs that is left out while it learns",
    "steps": "how often the adapters are changed",
    "batch": "rows in a step",
    "context": "tokens of a row at most; longer ones are cut",
    "learning_rate": "at its highest; it rises at first and then falls to 0",
    "held_out": "share of the rows that is not trained on",
    "seed": "for the order of the rows and the first adapters",
}


def add(verbs: Verbs) -> None:
    verb = verbs.add_parser("finetune", help="train adapters (LoRA) on a model at one precision, with your own rows")
    verb.add_argument("--model", default="demo", help=MODEL)
    verb.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="JSONL with text, prompt and completion, or messages; or CSV with two columns",
    )
    verb.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="where the adapter goes; a training that was broken off there goes on",
    )
    verb.add_argument("--precision", default=_DEFAULT.precision, help="of the frozen base")
    verb.add_argument(
        "--targets",
        default=",".join(_DEFAULT.targets),
        metavar="NAME,...",
        help="layers that get adapters, or all-linear",
    )
    for name, said in _HELP.items():
        kind = type(getattr(_DEFAULT, name))
        verb.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(_DEFAULT, name), help=said)
    verb.add_argument("--raw", action="store_true", help="leave the chat template out")
    verb.add_argument("--rslora", action="store_true", help="scale by the root of the rank")
    verb.add_argument("--dora", action="store_true", help="train the size of each weight vector beside its direction")
    add_placement(verb)


def run(args: argparse.Namespace) -> int:
    from quantlab.cli import render
    from quantlab.finetune.job import finetune

    told = {field.name: getattr(args, field.name) for field in fields(FinetuneSettings) if hasattr(args, field.name)}
    targets = tuple(word.strip() for word in args.targets.split(",") if word.strip())
    settings = FinetuneSettings(**told | {"targets": targets})
    stop = threading.Event()
    steps = finetune(args.model, args.data, args.out, settings, placement(args), stop=stop)
    trained = render.follow_training(steps, stop)
    render.show_trained(trained)
    if trained.stopped:
        raise Stopped
    return 0
