"""`quantlab finetune`: adapters trained on a frozen base, quantized or not; or all weights."""

import argparse
import threading
from dataclasses import fields, replace
from typing import get_args

from quantlab.cli.arguments import MODEL, Verbs, add_placement, placement
from quantlab.errors import BadInput, Stopped
from quantlab.finetune.sets import SETS, home_of, model_of, settings_of
from quantlab.records.finetuning import FinetuneSettings, InitLoraWeights, TrainingMethod

_DEFAULT = FinetuneSettings()
_ROWS = "JSONL with text, prompt and completion, or messages; or CSV with two columns"
_OUT = "where the result goes (default: kept under the name of the rows); a training that was broken off there goes on"
_HELP = {
    "rank": "of the adapters' two matrices",
    "alpha": "what an adapter adds is multiplied by alpha / rank",
    "dropout": "share of an adapter's inputs that is left out while it learns",
    "steps": "how often the adapters are changed",
    "batch": "rows in a step",
    "context": "tokens of a row at most; longer ones are cut",
    "learning_rate": "at its highest; it rises at first and then falls to 0; with full 1e-4 is the default",
    "held_out": "share of the rows that is not trained on",
    "seed": "for the order of the rows and the first adapters",
}


def _unless(name: str) -> str:
    return f" (default: {getattr(_DEFAULT, name)}, or the rows' own)"


def add(verbs: Verbs) -> None:
    verb = verbs.add_parser("finetune", help="train adapters (LoRA) or all weights of a model, with your own rows")
    verb.add_argument("--model", help=f"{MODEL} (default: demo, or the one that the rows are for)")
    verb.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help=f"{_ROWS}; or rows that come with quantlab: {', '.join(SETS)}",
    )
    verb.add_argument(
        "--out",
        metavar="DIR",
        help=_OUT,
    )
    verb.add_argument(
        "--method",
        choices=get_args(TrainingMethod),
        help="lora: adapters beside frozen weights; full: all weights, which --model takes then (default: lora)",
    )
    verb.add_argument(
        "--precision", help=f"of the frozen base{_unless('precision')}; of the weights with full (default: fp32)"
    )
    verb.add_argument(
        "--targets",
        metavar="NAME,...",
        help=f"layers that get adapters, or all-linear (default: {','.join(_DEFAULT.targets)}, or the rows' own)",
    )
    for name, said in _HELP.items():
        kind = type(getattr(_DEFAULT, name))
        verb.add_argument(f"--{name.replace('_', '-')}", type=kind, help=said + _unless(name))
    verb.add_argument("--raw", action="store_true", help="leave the chat template out")
    verb.add_argument("--rslora", action="store_true", help="scale by the root of the rank")
    verb.add_argument("--dora", action="store_true", help="train the size of each weight vector beside its direction")
    verb.add_argument(
        "--init-lora-weights", choices=get_args(InitLoraWeights),
        help="what adapters begin with: nothing (default), what 4 bits lost (loftq), the weights' largest part (pissa)",
    )  # fmt: skip
    add_placement(verb)


#: What says nothing where all weights are trained.
_OF_ADAPTERS = ("rank", "alpha", "dropout", "targets", "rslora", "dora", "init_lora_weights")


def run(args: argparse.Namespace) -> int:
    from quantlab.cli import render
    from quantlab.finetune.job import finetune

    given = {field.name: getattr(args, field.name, None) for field in fields(FinetuneSettings)}
    if args.targets is not None:
        given["targets"] = tuple(word.strip() for word in args.targets.split(",") if word.strip())
    if args.method == "full" and (odd := [name for name in _OF_ADAPTERS if given[name]]):
        raise BadInput(
            f"--{odd[0].replace('_', '-')} is for adapters, and --method full trains all weights.",
            "Leave one of them out.",
        )
    # A switch that is not set says nothing against the rows' own settings.
    told = {name: value for name, value in given.items() if value is not None and value is not False}
    settings = replace(settings_of(args.data, args.method or _DEFAULT.method), **told)
    stop = threading.Event()
    model, out = (
        args.model or model_of(args.data),
        args.out if args.out is not None else home_of(args.data, settings.method),
    )
    steps = finetune(model, args.data, out, settings, placement(args), stop=stop)
    trained = render.follow_training(steps, stop)
    render.show_trained(trained)
    if trained.stopped:
        raise Stopped
    return 0
