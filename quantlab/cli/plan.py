"""`quantlab plan`: will it fit? What a model would take, on which card, and what else a card can hold."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from quantlab.cli import arguments
from quantlab.errors import BadInput, unknown
from quantlab.records import ModelNumbers


def add(verbs: arguments.Verbs) -> None:
    what = "will it fit? the memory of a model at each precision, and the cards that hold it; nothing is loaded"
    verb = verbs.add_parser("plan", help=what, **arguments.listed("precisions", lambda _precision: True))
    verb.add_argument(
        "--model",
        action="append",
        default=[],
        help=f"{arguments.MODEL}; none, or several: what a --card can hold of them and of the shapes",
    )
    numbers = ",".join(f"{field.name}=N" for field in fields(ModelNumbers) if field.name != "tied")
    verb.add_argument("--numbers", metavar="NAME=N,...", help=f"a model of these instead: {numbers},tied=yes")
    verb.add_argument("--precisions", help="comma-separated, from below (default: bf16,int8,nf4,q4_k_m)")
    arguments.add_context(verb, "tokens of each sequence, prompt and answer together")
    verb.add_argument("--batch", type=int, default=1, help="sequences at once")
    verb.add_argument("--kv", default="auto", help="keys and values: auto, f32, f16, bf16, q8_0, q4_0, int8, int4")
    verb.add_argument("--card", help='a name ("RTX 3060") or a size (12, 12GB, 11.5GiB); default: all that are known')
    verb.add_argument("--compute-dtype", default="bfloat16", help="float32, bfloat16 or float16")
    verb.add_argument("--piece", type=int, help="tokens of a prompt that are read at once (default: all)")
    verb.add_argument("--json", metavar="FILE", help="write the plan as JSON to a file, or - for standard output")
    tuning = verb.add_argument_group("fine-tuning")
    tuning.add_argument("--finetune", metavar="KIND", help="full, lora or qlora")
    tuning.add_argument("--rank", type=int, default=16, help="of the adapters")
    tuning.add_argument("--targets", default="q_proj,v_proj", help="the layers that get adapters, or all-linear")
    tuning.add_argument(
        "--no-checkpointing",
        action="store_true",
        help="activations are kept, not computed again (gradient checkpointing)",
    )


def run(args: argparse.Namespace) -> int:
    models = _models(args)
    if args.json and args.json != "-":
        arguments.check_writable(Path(args.json).absolute())
    if len(models) == 1:
        return _plan(args, models[0])
    if args.card is None:
        raise BadInput("Several models are planned for one card.", 'Add --card, such as --card "RTX 3060".')
    return _which_fit(args, models)


def _plan(args: argparse.Namespace, model: str | ModelNumbers) -> int:
    from quantlab.cli import render
    from quantlab.teach.plan.exported import plan_data
    from quantlab.teach.plan.library import plan

    found = plan(
        model, _names(args.precisions), args.context, args.batch, args.kv, args.card, compute_dtype=args.compute_dtype,
        piece=args.piece, finetune=args.finetune, rank=args.rank, targets=_names(args.targets),
        checkpointing=not args.no_checkpointing,
    )  # fmt: skip
    if not _written(args, plan_data(found)):
        render.show_plan(found)
    return 0


def _which_fit(args: argparse.Namespace, models: Sequence[str | ModelNumbers]) -> int:
    from quantlab.cli import render
    from quantlab.teach.plan.asked import Asked
    from quantlab.teach.plan.cards import card
    from quantlab.teach.plan.exported import suited_data
    from quantlab.teach.plan.library import which_fit
    from quantlab.teach.plan.planning import bundled

    for option in ("finetune", "piece"):
        if getattr(args, option) is not None:
            raise BadInput(f"--{option} is planned for one model.", "Name it with --model.")
    every = [*bundled(), *(model for model in models if model not in bundled())]
    found = which_fit(args.card, every, args.context, args.batch, args.kv, _names(args.precisions))
    asked = card(args.card)
    tokens = Asked(context=args.context).tokens
    if not _written(args, suited_data(found, asked, tokens, args.batch)):
        render.show_suited(found, asked, tokens, args.batch, own=args.context is None)
    return 0


def _written(args: argparse.Namespace, data: object) -> bool:
    """Whether the JSON went to standard output, where nothing else goes then."""
    if not args.json:
        return False
    text = json.dumps(data, allow_nan=False, indent=1)
    if args.json != "-":
        arguments.write(Path(args.json), text)
        return False
    print(text)
    return True


def _models(args: argparse.Namespace) -> list[str | ModelNumbers]:
    models: list[str | ModelNumbers] = [*args.model]
    if args.numbers is not None:
        models.append(_numbers(args.numbers))
    if not models and args.card is None:
        raise BadInput("Nothing was asked.", "Name a model (--model shape:Mistral-7B-v0.3), a card, or both.")
    return models


def _names(typed: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (typed or "").split(",") if name.strip())


def _numbers(typed: str) -> ModelNumbers:
    """Raises BadInput for what is no number of a model."""
    known = [field.name for field in fields(ModelNumbers)]
    found: dict[str, int] = {}
    tied = False
    for pair in _names(typed):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name not in known or not equals:
            raise unknown("number", name, known)
        if name == "tied":
            tied = value.lower() in ("yes", "true", "1")
            continue
        try:
            found[name] = int(value)
        except ValueError:
            raise BadInput(f"{name}={value} is no whole number.", "Give one above zero.") from None
    missing = [name for name in known[:5] if name not in found]
    if missing:
        raise BadInput(f"A model needs these numbers too: {', '.join(missing)}.", "Add them to --numbers.")
    return ModelNumbers(**found, tied=tied)
