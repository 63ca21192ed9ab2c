"""The command line that measures a quality run again."""

import json
import re
import shlex
from collections.abc import Sequence

from quantlab.errors import BadInput
from quantlab.export import codec
from quantlab.methods import precision, published
from quantlab.records import Calibration, Quality, QualitySettings
from quantlab.reporting.advice import KLD_BOUND
from quantlab.reporting.advice.sources import typed_name


def command(quality: Quality, asked: Sequence[str] = (), bound: float = KLD_BOUND, memory: int | None = None) -> str:
    """The command line that measures the same, without the columns that failed.

    `asked` are the columns as they were typed, where a published one's name is shorter; `bound` and `memory` as in
    `advise`. Of paths only the last names are told.
    """
    settings, default = quality.settings, QualitySettings()
    names = _measured(quality, asked)
    theirs = [name for name in names if published.is_published(name) or not _known(name)]
    placement, read = settings.placement, settings.calibration
    typed = ["quantlab", "quality", "--model", typed_name(quality.model, private=True)]
    typed += ["--precisions", ",".join(name for name in names if name not in theirs)]
    for spec in theirs:
        typed += ["--variant", _without_place(spec)]
    options = {
        "--reference": settings.reference and _without_place(settings.reference),
        "--text": quality.text.name,
        "--windows": _unless(settings.windows, default.windows),
        "--tasks": ",".join(settings.tasks),
        "--device": placement.device,
        "--compute-dtype": placement.compute_dtype,
        "--device-map": _map(placement.device_map),
        "--kernel": placement.kernel,
        "--calibration": read.file and codec.last_name(str(read.file)),
        "--calibration-samples": _unless(read.samples, Calibration.samples),
        "--calibration-length": _unless(read.length, Calibration.length),
        "--kld-bound": _unless(bound, KLD_BOUND),
        "--memory": None if memory is None else f"{memory / 1e6:.15g}",
    }
    for option, value in options.items():
        typed += [option, str(value)] if value else []
    typed += [] if settings.layers else ["--no-layers"]
    typed += [] if settings.noise_floor else ["--no-noise-floor"]
    return one_line(shlex.join(typed))


def _measured(quality: Quality, asked: Sequence[str]) -> list[str]:
    """The columns that have figures, or all where none has; those that failed would fail again."""
    names = list(asked) or [run.precision for run in quality.runs]
    if len(names) != len(quality.runs):
        return names
    return [name for name, run in zip(names, quality.runs, strict=True) if run.error is None] or names


def _unless(value: float, default: float) -> str | None:
    return None if value == default else f"{value:.15g}"


def _known(name: str) -> bool:
    try:
        return bool(precision(name))
    except BadInput:
        return False


def _without_place(spec: str) -> str:
    """A checkpoint's spec; of a path that begins elsewhere its last name."""
    name, separator, pick = spec.partition(published.SEPARATOR)
    away = re.match(r"[/\\~]|[A-Za-z]:[/\\]|\.\.", name)
    return f"./{codec.last_name(name)}{separator}{pick}" if away else spec


def _map(device_map: str | tuple[tuple[str, str], ...] | None) -> str | None:
    return device_map if isinstance(device_map, str | None) else json.dumps(dict(device_map))


def one_line(text: str) -> str:
    """What cannot be printed, line ends among it, as marks."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
