"""`quantlab quality`: how far each precision is from the reference over a text and at tasks."""

import argparse
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from quantlab.cli import arguments, gate
from quantlab.cli.compare import failed
from quantlab.errors import BadInput, Stopped
from quantlab.records import QualityRequest, QualitySettings, Text
from quantlab.reporting.advice import KLD_BOUND

#: Above any bound in nats and any memory in MB.
MOST = 1e12


def add(verbs: arguments.Verbs) -> None:
    every = arguments.listed("precisions", lambda _precision: True)
    quality = verbs.add_parser(
        "quality", help="measure how far each precision is from the reference: over a text, at tasks, by layer", **every
    )
    quality.add_argument("--model", default="demo", help=arguments.MODEL)
    arguments.add_precisions(quality)
    quality.add_argument(
        "--text",
        metavar="FILE",
        help="a text file, or one of: demo, english, wikitext2 (WikiText-2's test set, fetched once from the Hub); "
        "default: demo for the demo and models with its vocabulary, else english",
    )
    quality.add_argument(
        "--windows", type=int, default=QualitySettings.windows, help="how many windows of 512 tokens are read at most"
    )
    quality.add_argument(
        "--tasks",
        default="",
        help="comma-separated: demo_facts, demo_sums, demo_stories, demo_grammar, demo_newcomers, or tasks of lm-eval",
    )
    quality.add_argument("--no-layers", action="store_true", help="leave the error of each layer out")
    quality.add_argument(
        "--no-noise-floor", action="store_true", help="do not load the reference in a second rounding to read the floor"
    )
    quality.add_argument(
        "--kld-bound", type=float, default=KLD_BOUND, help=f"what the advice takes for close, in nats ({KLD_BOUND})"
    )
    quality.add_argument("--memory", type=float, metavar="MB", help="what the advice takes for fitting")
    quality.add_argument("--json", metavar="FILE", help="write everything as JSON to a file, or - for standard output")
    quality.add_argument(
        "--card",
        metavar="FILE",
        help="write a section for a model card, in Markdown, to a file, or - for standard output",
    )
    gate.add(quality)
    arguments.add_placement(quality)
    arguments.add_calibration(quality)
    arguments.add_cluster(quality)


def run(args: argparse.Namespace) -> int:
    for asked in (args.kld_bound, args.memory):
        if asked is not None and not 0 < asked < MOST:
            raise BadInput("The bound and the memory must be larger than zero, and numbers that mean something.")
    _check_files(args)
    limits = gate.limits(args)
    names, settings = arguments.columns(args), _settings(args)
    gate.check_columns(limits, names)
    read = suiting_text(args.text, args.model)

    from quantlab.cli import render  # here, because torch comes with these
    from quantlab.cli.history import opened
    from quantlab.export import to_json
    from quantlab.reporting.advice.card import card
    from quantlab.reporting.advice.sources import context
    from quantlab.runs.recorded import recorded_quality

    stop = threading.Event()
    seconds: dict[str, float] = {}
    request = QualityRequest(args.model, tuple(names), read, settings)
    with arguments.elsewhere(args) as on, closing(recorded_quality(opened(), request, stop=stop, on=on)) as events:
        quality = render.follow_quality(gate.clocked(events, seconds), stop)
    memory = None if args.memory is None else round(args.memory * 1e6)
    if "-" not in (args.json, args.card):
        render.show_quality(quality, args.kld_bound, memory)
    put(args.json, lambda: to_json(quality))
    put(args.card, lambda: card(quality, names, args.kld_bound, memory, context(quality.model)))
    code = gate.tell(args, limits, quality, seconds)
    if stop.is_set():
        raise Stopped
    return code or failed(quality.runs)


def _check_files(args: argparse.Namespace) -> None:
    """Raises BadInput for files that cannot be written, and where two of them are one."""
    named = [file for file in (args.json, args.card, args.junit) if file is not None]
    places = [file if file == "-" else os.path.abspath(file) for file in named]
    if len(set(places)) < len(places):
        raise BadInput("--json, --card and --junit name the same file.", "Name another one for each.")
    for file in (args.json, args.card):
        if file is not None and file != "-":
            arguments.check_writable(Path(file).absolute())


def put(file: str | None, made: Callable[[], str]) -> None:
    """Print what was asked for as `-`, write what was given a file."""
    if file == "-":
        print(made().rstrip("\n"))
    elif file is not None:
        arguments.write(Path(file), made())


def suiting_text(named: str | None, model: str) -> Text:
    """The text that was named, else the one that suits the model, which is then told."""
    from quantlab.fidelity import texts
    from quantlab.settings import app_settings

    if named is not None:
        return texts.text(named)
    suits = texts.suiting(model, app_settings())
    print(f"The text is {suits}, which suits this model; --text names another.", file=sys.stderr)
    return texts.text(suits)


def task_names(typed: str) -> tuple[str, ...]:
    """The tasks of a comma-separated list. Raises BadInput where it holds commas alone."""
    tasks = tuple(name.strip() for name in typed.split(",") if name.strip())
    if typed and not tasks:
        raise BadInput("--tasks names no task.", "Name some, such as demo_facts, or leave it out.")
    return tasks


def _settings(args: argparse.Namespace) -> QualitySettings:
    return QualitySettings(
        windows=args.windows,
        tasks=task_names(args.tasks),
        layers=not args.no_layers,
        noise_floor=not args.no_noise_floor,
        reference=args.reference,
        placement=arguments.placement(args),
        calibration=arguments.calibration(args),
    )
