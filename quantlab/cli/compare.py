"""`quantlab compare`: one prompt through several precisions."""

import argparse
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from quantlab.cli import arguments
from quantlab.errors import BadInput, Stopped
from quantlab.records import GENERATION, ComparisonRequest, QualityRun, Run, Settings

DEFAULT_PROMPT = "Tell me a story about Sanna Corsa."
#: Exit codes: some columns failed; nothing could run.
SOME_FAILED, REFUSED = 1, 2
#: What draws tokens, by its field of `Settings`.
_OF_SAMPLING = {
    "temperature": (float, "below 1 the likely tokens are drawn more often"),
    "top_k": (int, "only of so many of the likeliest, 0 for all"),
    "top_p": (float, "only of the likeliest that have this share of the probability"),
    "seed": (int, "of the random numbers, the same for every column"),
}


def add(verbs: arguments.Verbs) -> None:
    every = arguments.listed("precisions", lambda _precision: True)
    compare = verbs.add_parser("compare", help="run one prompt through several precisions", **every)
    compare.add_argument("--model", default="demo", help=arguments.MODEL)
    arguments.add_precisions(compare)
    compare.add_argument("--prompt", default=DEFAULT_PROMPT, help="the text, or - for standard input")
    compare.add_argument("--max-new-tokens", type=int, default=Settings.max_new_tokens)
    compare.add_argument("--raw", action="store_true", help="no chat template")
    compare.add_argument("--sample", action="store_true", help="draw tokens instead of taking the likeliest")
    for name, (kind, about) in _OF_SAMPLING.items():
        told = f"with --sample: {about} ({getattr(Settings, name)})"
        compare.add_argument(_option(name), type=kind, help=told)
    compare.add_argument("--race", action="store_true", help="run all at once; the timings then do not count")
    compare.add_argument("--fresh", action="store_true", help="measure again what the history has already")
    compare.add_argument(
        "--json", metavar="FILE", help="write the comparison as JSON to a file, or - for standard output"
    )
    compare.add_argument(
        "--code", metavar="FILE", help="write a program that does the same without quantlab, or - for standard output"
    )
    arguments.add_placement(compare)
    arguments.add_calibration(compare)
    arguments.add_cluster(compare)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _settings(args: argparse.Namespace) -> Settings:
    typed = {name: value for name in GENERATION if (value := getattr(args, name)) is not None}
    idle = [_option(name) for name in _OF_SAMPLING if name in typed]
    if idle and not args.sample:
        print(f"quantlab: without --sample nothing is drawn: no use is made of {', '.join(idle)}.", file=sys.stderr)
    return Settings(
        **typed,
        reference=args.reference,
        placement=arguments.placement(args),
        calibration=arguments.calibration(args),
    )


def _piped() -> str:
    """Standard input as text. Raises BadInput where it is not UTF-8."""
    content = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"The prompt is not UTF-8: byte {error.start:,} cannot be read.", "Save it as UTF-8.") from error


def run(args: argparse.Namespace) -> int:
    prompt = _piped() if args.prompt == "-" else args.prompt
    names = arguments.columns(args)
    if args.json == "-" == args.code:
        raise BadInput("--json - and --code - would be mixed up.", "Name a file for one of them.")
    for file in (args.json, args.code):
        if file and file != "-":
            arguments.check_writable(Path(file).absolute())
    settings = _settings(args)

    from quantlab.cli import render  # here, because torch comes with these
    from quantlab.cli.history import opened
    from quantlab.export import to_json
    from quantlab.reporting.code import as_asked, code
    from quantlab.runs.recorded import recorded_compare

    stop = threading.Event()
    request = ComparisonRequest(args.model, tuple(names), prompt, settings)
    with (
        arguments.elsewhere(args) as on,
        closing(recorded_compare(opened(), request, stop=stop, fresh=args.fresh, on=on)) as events,
    ):
        done = render.follow(events, stop)
    if "-" not in (args.json, args.code):
        render.show(done.comparison, replayed=done.replayed)
    if args.json:
        _put(args.json, to_json(done.comparison))
    if args.code:
        _put(args.code, code(done.comparison, as_asked(done.comparison, names)))
    if stop.is_set():
        raise Stopped
    return failed(done.comparison.runs)


def _put(file: str, text: str) -> None:
    if file == "-":
        print(text.removesuffix("\n"))
    else:
        arguments.write(Path(file), text)


def failed(runs: Sequence[Run | QualityRun]) -> int:
    """The exit code that tells how many of the columns failed."""
    errors = [bool(run.error) for run in runs]
    return REFUSED if all(errors) else SOME_FAILED if any(errors) else 0
