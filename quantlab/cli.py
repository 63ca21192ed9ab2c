"""The same verbs without a browser: `quantlab compare`, `quantize`, `cache`, `precisions`, `models`, `serve`."""

import argparse
import json
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput, QuantlabError, Stopped, unknown
from quantlab.records import Calibration, Placement, Precision, Settings

DEFAULT_PRECISIONS = "fp32,bf16,int8,nf4,nf4-dq,fp4"
DEFAULT_PROMPT = "Tell me a story about Sanna Corsa."
#: Exit codes: some column failed; nothing could run at all; stopped by the user.
SOME_FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="quantlab", description="One language model at several precisions, side by side."
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    _add_compare(verbs)
    _add_quantize(verbs)
    _add_cache(verbs)
    offered = verbs.add_parser("precisions", help="list what can run here, its memory, and why the rest cannot")
    offered.add_argument("--model", default="demo")
    _add_placement(offered)
    verbs.add_parser("models", help="list the models that need no download")
    verbs.add_parser("serve", help="open the page (settings: QUANTLAB_* and PORT in the environment)")
    return top


def _add_compare(verbs) -> None:
    listed = _listed("precisions", lambda _precision: True)
    compare = verbs.add_parser("compare", help="run one prompt through several precisions", **listed)
    compare.add_argument("--model", default="demo", help="demo, a folder, a Hub id with @revision, or shape:NAME")
    compare.add_argument(
        "--precisions", default=DEFAULT_PRECISIONS, help=f"comma-separated, from below (default {DEFAULT_PRECISIONS})"
    )
    compare.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="PATH_OR_ID[::PRECISION]",
        help="a published checkpoint to compare with: a quantized folder, a Hub id or the address of its page, a .gguf "
        "file (::NAME picks one of several), or another model at a precision; may be repeated",
    )
    compare.add_argument("--prompt", default=DEFAULT_PROMPT, help="the text, or - for standard input")
    compare.add_argument("--max-new-tokens", type=int, default=64)
    compare.add_argument("--reference", help="the precision that the others are compared with")
    compare.add_argument("--raw", action="store_true", help="no chat template")
    compare.add_argument("--sample", action="store_true", help="draw tokens instead of taking the likeliest")
    compare.add_argument("--temperature", type=float, default=Settings.temperature)
    compare.add_argument("--top-k", type=int, default=Settings.top_k)
    compare.add_argument("--top-p", type=float, default=Settings.top_p)
    compare.add_argument("--seed", type=int, default=Settings.seed)
    compare.add_argument("--race", action="store_true", help="run all at once; the timings then do not count")
    compare.add_argument(
        "--json", metavar="FILE", help="write the comparison as JSON to a file, or - for standard output"
    )
    _add_placement(compare)
    _add_calibration(compare)


def _add_quantize(verbs) -> None:
    from quantlab.saving import savable

    what, listed = "write a model at one precision as a checkpoint for other programs", _listed("precisions", savable)
    quantize = verbs.add_parser("quantize", help=what, **listed)
    quantize.add_argument("--model", default="demo", help="demo, a folder, a Hub id with @revision, or shape:NAME")
    quantize.add_argument("--precision", required=True, help="one of those below")
    quantize.add_argument("--out", required=True, metavar="DIR", help="a folder that does not exist or is empty")
    _add_placement(quantize)
    _add_calibration(quantize)


def _listed(title: str, wanted: Callable[[Precision], bool]) -> dict[str, Any]:
    """The names of the wanted precisions, each method's under its title, as the end of a verb's help."""
    from quantlab.methods import METHODS

    lines = [f"{title}:"]
    for method in METHODS.values():
        if names := " ".join(one.name for one in method.precisions if wanted(one)):
            wrapped = textwrap.wrap(names, 76, break_on_hyphens=False)
            lines += [f"  {method.title}", *(f"    {line}" for line in wrapped)]
    epilog = "\n".join((*lines, "Options may follow a name: gptq-4-g128, gptq-4-act."))
    return {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": epilog}


def _add_cache(verbs) -> None:
    cache = verbs.add_parser("cache", help="the quantized checkpoints that are kept on disk")
    actions = cache.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="what is kept, its size and how long it took to make")
    clear = actions.add_parser("clear", help="remove the named ones, or all")
    clear.add_argument("names", nargs="*", metavar="NAME")


def _add_calibration(verb: argparse.ArgumentParser) -> None:
    defaults = Calibration()
    verb.add_argument("--calibration", metavar="FILE", help="a text for GPTQ and AWQ to read (default: bundled)")
    verb.add_argument("--calibration-samples", type=int, default=defaults.samples, help="how many windows of it")
    verb.add_argument("--calibration-length", type=int, default=defaults.length, help="tokens of a window, at most")


def _calibration(args: argparse.Namespace) -> Calibration:
    from quantlab.methods.calibration import calibration

    return calibration(args.calibration, args.calibration_samples, args.calibration_length)


def _add_placement(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    verb.add_argument(
        "--compute-dtype", help="float32, bfloat16 or float16 for quantized methods (default: the device's)"
    )
    verb.add_argument("--device-map", help='auto, a JSON object such as {"": "cpu"}, or a file with one')
    verb.add_argument("--kernel", help="the code that multiplies, where GPTQ or AWQ have several (default: the best)")


def _placement(args: argparse.Namespace) -> Placement:
    from quantlab.runtime.placement import parse_device_map

    return Placement(args.device, args.compute_dtype, parse_device_map(args.device_map), args.kernel)


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        max_new_tokens=args.max_new_tokens,
        sample=args.sample,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=args.seed,
        reference=args.reference,
        raw=args.raw,
        race=args.race,
        placement=_placement(args),
        calibration=_calibration(args),
    )


def _compare(args: argparse.Namespace) -> int:
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    names = [name.strip() for name in args.precisions.split(",") if name.strip()]
    names += [_checkpoint(spec) for spec in args.variant]
    if args.json and args.json != "-":
        _check_writable(Path(args.json).absolute())
    settings = _settings(args)

    from quantlab import terminal  # here, because torch comes with these
    from quantlab.comparison import compare
    from quantlab.export import comparison_data

    stop = threading.Event()
    with closing(compare(args.model, names, prompt, settings, stop=stop)) as events:
        comparison = terminal.follow(events, stop)
    if args.json == "-":
        print(json.dumps(comparison_data(comparison), allow_nan=False))
    else:
        terminal.show(comparison)
        if args.json:
            _write(Path(args.json), json.dumps(comparison_data(comparison), allow_nan=False, indent=1))
    if stop.is_set():
        raise Stopped
    return SOME_FAILED if any(run.error for run in comparison.runs) else 0


def _checkpoint(spec: str) -> str:
    """A published checkpoint as `compare` tells it from a precision: a bare folder's name is given as a path.

    Raises BadInput for one that does not exist, before anything heavy is imported.
    """
    from quantlab.methods import published
    from quantlab.settings import app_settings

    found = published.read(spec)
    if not published.is_published(spec):
        found = published.read(f"./{spec}")
    published.check_there(found, app_settings())
    return found.spec


def _quantize(args: argparse.Namespace) -> int:
    from quantlab import terminal
    from quantlab.saving import quantize

    stop = threading.Event()
    with closing(
        quantize(args.model, args.precision, args.out, _placement(args), _calibration(args), stop=stop)
    ) as steps:
        terminal.show_saved(terminal.follow_steps(steps, stop))
    return 0


def _cache(args: argparse.Namespace) -> int:
    from quantlab import terminal
    from quantlab.engine.bring import checkpoint_store

    store = checkpoint_store()
    store.work.sweep()
    if args.action == "list":
        terminal.show_kept(store)
        return 0
    kept = [entry.name for entry in store.entries()]
    for name in args.names:
        if name not in kept:
            raise unknown("checkpoint", name, kept)
    print(f"{store.clear(tuple(args.names) or None)} removed")
    return 0


def _check_writable(file: Path) -> None:
    """Raises BadInput before a long run whose result could not be kept."""
    if not file.parent.is_dir():
        raise BadInput(f"There is no folder for {file}.", "Create it, or name another file.")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise BadInput(f"{file} cannot be written.", "Name another file.")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror}.", "Name another file.") from error


def _precisions(args: argparse.Namespace) -> int:
    from quantlab import models, terminal
    from quantlab.offers import offers
    from quantlab.settings import app_settings

    terminal.show_offers(offers(models.peek(args.model, app_settings()), _placement(args)))
    return 0


def _models(_args: argparse.Namespace) -> int:
    from quantlab import models, terminal
    from quantlab.settings import app_settings

    terminal.show_models(models.known_models(app_settings()))
    return 0


def _serve(_args: argparse.Namespace) -> int:
    from quantlab.settings import app_settings
    from quantlab.ui.launch import serve

    serve(app_settings())
    return 0


VERBS = {
    "compare": _compare,
    "quantize": _quantize,
    "cache": _cache,
    "precisions": _precisions,
    "models": _models,
    "serve": _serve,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Errors a user can act on go to standard error as two lines; others stay loud."""
    try:
        args = parser().parse_args(arguments)
        code = VERBS[args.verb](args)
        sys.stdout.flush()
        return code
    except (Stopped, KeyboardInterrupt):
        print("quantlab: stopped.", file=sys.stderr)
        return INTERRUPTED
    except QuantlabError as error:
        print(f"quantlab: {error.what}", file=sys.stderr)
        if error.advice:
            print(f"  {error.advice}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends, and would complain of the pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


if __name__ == "__main__":
    raise SystemExit(main())
