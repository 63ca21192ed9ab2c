"""Arguments that several verbs share, and what is done with them."""

import argparse
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlab.cli.parser import number
from quantlab.errors import BadInput, shown
from quantlab.models.source import is_gguf
from quantlab.records import Calibration, Placement, Precision

if TYPE_CHECKING:
    from quantlab.runs.recorded import Elsewhere

#: What `add_subparsers` gives: Python has no public name for it.
Verbs = Any
MODEL = (
    "smollm2, demo, a folder, a .gguf file, ollama:NAME, a Hub id with @revision (::NAME picks one of its .gguf "
    "files), or shape:NAME"
)
PRECISIONS = "fp32,bf16,int8,nf4,nf4-dq,fp4"
#: Of a model that is a GGUF file: itself, and its weights, dequantized.
GGUF_PRECISIONS = "fp32,stored,int8,nf4"


def add_precisions(verb: argparse.ArgumentParser) -> None:
    told = f"(default {PRECISIONS}; of a .gguf file {GGUF_PRECISIONS})"
    verb.add_argument("--precisions", help=f"comma-separated, from below {told}")
    verb.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="PATH_OR_ID[::PRECISION]",
        help="a published checkpoint to compare with: a quantized folder, a Hub id or the address of its page, a .gguf "
        "file (::NAME picks one of several), another model at a precision, or a served model "
        "(openai:http://HOST:PORT/v1#MODEL); may be repeated",
    )
    verb.add_argument("--reference", help="the precision that the others are compared with")


def columns(args: argparse.Namespace) -> list[str]:
    """What was asked for by `--precisions` and `--variant`. Raises BadInput for a checkpoint that does not exist."""
    default = GGUF_PRECISIONS if is_gguf(args.model) else PRECISIONS
    asked = default if args.precisions is None else args.precisions
    names = [name.strip() for name in asked.split(",") if name.strip()]
    return names + [checkpoint(spec) for spec in args.variant]


def listed(title: str, wanted: Callable[[Precision], bool]) -> dict[str, Any]:
    """The names of the wanted precisions, each method's under its title, as the end of a verb's help."""
    from quantlab.methods import METHODS

    lines = [f"{title}:"]
    for method in METHODS.values():
        if names := " ".join(one.name for one in method.precisions if wanted(one)):
            wrapped = textwrap.wrap(names, 76, break_on_hyphens=False)
            lines += [f"  {method.title}", *(f"    {line}" for line in wrapped)]
    epilog = "\n".join((*lines, "Options may follow a name: gptq-4-g128, gptq-4-act."))
    return {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": epilog}


def checkpoint(spec: str) -> str:
    """A published checkpoint as `compare` tells it from a precision: a bare folder's name is given as a path.

    Raises BadInput for one that does not exist, before anything heavy is imported.
    """
    from quantlab.methods import published, served
    from quantlab.runtime.kv_cache import MARK, split
    from quantlab.settings import app_settings

    if served.is_served(spec):
        return published.read(spec).spec
    base, kv_cache = split(spec)
    found = published.read(base)
    if not published.is_published(base):
        found = published.read(f"./{base}")
    published.check_there(found, app_settings())
    return f"{found.spec}{MARK}{kv_cache}" if kv_cache else found.spec


def add_calibration(verb: argparse.ArgumentParser) -> None:
    defaults = Calibration()
    verb.add_argument("--calibration", metavar="FILE", help="a text for GPTQ and AWQ to read (default: bundled)")
    verb.add_argument("--calibration-samples", type=int, default=defaults.samples, help="how many windows of it")
    verb.add_argument("--calibration-length", type=int, default=defaults.length, help="tokens of a window, at most")


def calibration(args: argparse.Namespace) -> Calibration:
    from quantlab.methods import calibration as texts

    return texts.calibration(args.calibration, args.calibration_samples, args.calibration_length)


def add_placement(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    verb.add_argument(
        "--compute-dtype", help="float32, bfloat16 or float16 for quantized methods (default: the device's)"
    )
    verb.add_argument("--device-map", help='auto, a JSON object such as {"": "cpu"}, or a file with one')
    verb.add_argument("--kernel", help="the code that multiplies, where GPTQ or AWQ have several (default: the best)")


def placement(args: argparse.Namespace) -> Placement:
    from quantlab.runtime.placement import parse_device_map

    return Placement(args.device, args.compute_dtype, parse_device_map(args.device_map), args.kernel)


def add_context(verb: argparse.ArgumentParser, what: str) -> None:
    verb.add_argument(
        "--context", type=int, help=f"{what} (default: 4096, or as many as the model was made for where that is fewer)"
    )


def add_cluster(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="run each column on a node of a Ray cluster: auto (the one of this machine), HOST:PORT or ray://HOST:PORT",
    )


@contextmanager
def elsewhere(args: argparse.Namespace) -> Iterator["Elsewhere | None"]:
    """The cluster that was asked for, joined for as long as the block goes on; None without one."""
    if args.cluster is None:
        yield None
        return
    from quantlab.runs.cluster import joined

    with joined(args.cluster) as cluster:
        yield cluster


def check_writable(file: Path) -> None:
    """Raises BadInput before a long run whose result could not be kept."""
    if "\0" in str(file):
        raise BadInput(f"{file} cannot be written: no name has a null character.", "Name another file.")
    try:
        if not file.parent.is_dir():
            raise BadInput(f"There is no folder for {file}.", "Create it, or name another file.")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise BadInput(f"{file} cannot be written.", "Name another file.")
    except OSError as error:  # a name that is too long
        raise BadInput(f"{file} cannot be written: {error.strerror}.", "Name another file.") from error


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot write {path}: {getattr(error, 'strerror', error)}.", "Name another file.") from error


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SPANS = {"h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """A span of time as it is typed: 12h, 90d, 6w; days where there is no letter."""
    found = re.fullmatch(r"(\d{1,5})([hdw]?)", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no age: give hours, days or weeks, such as 12h, 90d or 6w")
    return timedelta(**{_SPANS[found[2] or "d"]: int(found[1])})


def size(text: str) -> int:
    """A number of bytes as it is typed: 200MB, 1.5 GB; MB = 1,000,000 bytes."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]{0,3})", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no size: give a number and B, kB, MB or GB, such as 200MB")
    return int(float(found[1]) * _UNITS[found[2]])


def amount(text: str) -> float:
    """A number that may be a limit: finite, and not negative."""
    found = number(text)
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no limit: give a finite number that is not negative")
    return found
