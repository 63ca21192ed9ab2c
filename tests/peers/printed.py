"""What llama.cpp's own programs write: figures of text, the tokens of a file of log-probabilities, times."""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_NUMBER = r"\s*:\s*(-?\d+(?:\.\d+)?)"
#: The line of `llama-perplexity --kl-divergence` that holds each figure, and what one of its units is here.
_LINES: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "kld": ("Mean    KLD", 1),
        "kld_median": ("Median  KLD", 1),
        "kld_p99": ("99.0%   KLD", 1),
        "kld_max": ("Maximum KLD", 1),
        "ppl": ("Mean PPL(Q)", 1),
        "ppl_reference": ("Mean PPL(base)", 1),
        "ppl_ratio": ("Mean PPL(Q)/PPL(base)", 1),
        "delta_p_mean": ("Mean    Δp", 1),
        "delta_p_rms": ("RMS Δp", 1),
        "same_top": ("Same top p", 0.01),
    }
)
_MAGIC = b"_logits_"


@dataclass(frozen=True)
class Figures:
    """What both give of a text: KLD in nats, `delta_p` in points of a hundred, `same_top` a share."""

    kld: float
    kld_median: float
    kld_p99: float
    kld_max: float
    ppl: float
    ppl_reference: float
    ppl_ratio: float
    delta_p_mean: float
    delta_p_rms: float
    same_top: float


def figures(printed: str) -> Figures:
    """The summary of `llama-perplexity --kl-divergence`. Raises ValueError where a line is missing."""
    return Figures(**{name: unit * _figure(printed, label) for name, (label, unit) in _LINES.items()})


def _figure(printed: str, label: str) -> float:
    found = re.search(rf"^\s*{re.escape(label)}{_NUMBER}", printed, re.MULTILINE)
    if found is None:
        raise ValueError(f"llama-perplexity wrote no line {label!r}; the last it wrote is: {printed[-500:]}")
    return float(found[1])


def windows_of(file: Path) -> tuple[tuple[int, ...], ...]:
    """The tokens of the windows that `--kl-divergence-base` wrote, before any BOS takes the first one's place.

    Raises ValueError for another kind of file.
    """
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{file} holds no log-probabilities of llama-perplexity")
        size, _, count = struct.unpack("<3i", opened.read(12))
        ids = struct.unpack(f"<{size * count}i", opened.read(4 * size * count))
    return tuple(ids[at : at + size] for at in range(0, len(ids), size))


def seconds(printed: str) -> float:
    """The time of the one repetition that `llama-bench -o json -r 1` made. Raises ValueError for anything else."""
    (row,) = json.loads(printed)
    (nanoseconds,) = row["samples_ns"]
    return nanoseconds / 1e9
