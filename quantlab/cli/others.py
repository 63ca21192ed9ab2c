"""`quantlab quantize`, `cache`, `precisions`, `models`, `serve`."""

import argparse
import threading
from contextlib import closing
from dataclasses import replace

from quantlab.cli.arguments import (
    MODEL,
    Verbs,
    add_calibration,
    add_context,
    add_placement,
    calibration,
    listed,
    placement,
)
from quantlab.errors import unknown


def add(verbs: Verbs) -> None:
    _add_quantize(verbs)
    _add_cache(verbs)
    offered = verbs.add_parser("precisions", help="list what can run here, its memory, and why the rest cannot")
    offered.add_argument("--model", default="demo")
    offered.add_argument("--card", help='what fits there instead of here: a name ("RTX 3060") or a size (12, 12GB)')
    add_context(offered, "with --card: tokens of prompt and answer together")
    add_placement(offered)
    verbs.add_parser("models", help="list the models that need no download")
    verbs.add_parser("serve", help="open the page (settings: QUANTLAB_* and PORT in the environment)")


def _add_quantize(verbs: Verbs) -> None:
    from quantlab.checkpoints.export import savable

    what, every = "write a model at one precision as a checkpoint for other programs", listed("precisions", savable)
    quantize = verbs.add_parser("quantize", help=what, **every)
    quantize.add_argument("--model", default="demo", help=MODEL)
    quantize.add_argument("--precision", required=True, help="one of those below")
    quantize.add_argument("--out", required=True, metavar="DIR", help="a folder that does not exist or is empty")
    add_placement(quantize)
    add_calibration(quantize)


def _add_cache(verbs: Verbs) -> None:
    cache = verbs.add_parser("cache", help="the quantized checkpoints that are kept on disk")
    actions = cache.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="what is kept, its size and how long it took to make")
    clear = actions.add_parser("clear", help="remove the named ones, or all, log-probabilities included")
    clear.add_argument("names", nargs="*", metavar="NAME")


def quantize_verb(args: argparse.Namespace) -> int:
    from quantlab.checkpoints.export import quantize
    from quantlab.cli import render

    stop = threading.Event()
    with closing(
        quantize(args.model, args.precision, args.out, placement(args), calibration(args), stop=stop)
    ) as steps:
        render.show_saved(render.follow_steps(steps, stop))
    return 0


def cache(args: argparse.Namespace) -> int:
    from quantlab.checkpoints.load import checkpoint_store
    from quantlab.cli import render
    from quantlab.fidelity.reference import score_store
    from quantlab.runtime import offload

    store, scores = checkpoint_store(), score_store()
    store.work.sweep()
    offload.sweep()
    if args.action == "list":
        render.show_kept(store, scores.nbytes())
        return 0
    kept = [entry.name for entry in store.entries()]
    for name in args.names:
        if name not in kept:
            raise unknown("checkpoint", name, kept)
    if not args.names:
        scores.clear()
    print(f"{store.clear(tuple(args.names) or None)} removed")
    return 0


def precisions(args: argparse.Namespace) -> int:
    from quantlab import models
    from quantlab.cli import render
    from quantlab.runs.estimates import estimates
    from quantlab.runtime import placement as placements
    from quantlab.settings import app_settings

    asked, app = placement(args), app_settings()
    if args.card is None:
        found = estimates(models.peek_main(args.model, app), asked)
        render.show_estimates(found, placements.resolve(asked).compute_dtype)
        return 0

    from quantlab.teach.plan import card_rows, planning
    from quantlab.teach.plan.asked import Asked
    from quantlab.teach.plan.cards import card

    dtype = args.compute_dtype or card_rows.COMPUTE_DTYPE
    there, wanted = card(args.card), planning.check(Asked(context=args.context, compute_dtype=dtype))
    found = estimates(models.peek_main(args.model, app), replace(asked, compute_dtype=dtype))
    plan = planning.planned(args.model, replace(wanted, precisions=card_rows.planned_names(found)), (there,), app)
    render.show_estimates(card_rows.on_card(found, there, plan), dtype, context=plan.context)
    for note in plan.notes:
        print(note)
    return 0


def models_verb(_args: argparse.Namespace) -> int:
    from quantlab import models
    from quantlab.cli import render
    from quantlab.settings import app_settings

    render.show_models(models.known_models(app_settings()))
    return 0


def serve_verb(_args: argparse.Namespace) -> int:
    from quantlab.settings import app_settings
    from quantlab.ui.launch import serve

    serve(app_settings())
    return 0
