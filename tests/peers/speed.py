"""Decoding and prefill: quantlab's loop beside `llama-bench`, on the same files."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from quantlab.measure.timing import Stopwatch
from quantlab.records import Settings
from quantlab.runtime.decode import decode
from quantlab.runtime.sampling import sampler
from quantlab.runtime.session import LoadedModel
from tests.bench.turns import in_turn
from tests.peers import files, programs
from tests.peers.printed import seconds

PROMPT = 512
#: Tokens before those that are timed: each side reads one, so that both fill the same cells of the cache.
BEFORE = 1


@dataclass(frozen=True)
class Row:
    """Medians of seconds for the same number of tokens; `ratio` is llama-bench's over ours, above 1 ours is faster.

    `what` is `decode` or `prefill`. `load` is the machine's mean load over the minute before.
    """

    precision: str
    what: str
    tokens: int
    ours_s: float
    other_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    load: float


def measure(precisions: Sequence[str], repeats: int, tokens: int) -> list[Row]:
    """Two rows for each precision."""
    # llama-bench is a new process each time. Weights that are read into the memory which other files have left
    # behind lie in it worse: for q4_0 that alone was 3 % of the decode speed.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        return [row for name in precisions for row in fresh.submit(of_file, name, repeats, tokens).result()]


def of_file(name: str, repeats: int, tokens: int) -> list[Row]:
    """Decode and prefill of one file, in this process."""
    rows = []
    with files.opened(name) as both:
        theirs = partial(_bench, both.file)
        pairs = {
            "decode": (tokens, partial(_decode, both.loaded, tokens), ("-p", 0, "-n", tokens, "-d", BEFORE)),
            "prefill": (PROMPT, partial(_prefill, both.loaded), ("-p", PROMPT, "-n", 0)),
        }
        for what, (count, ours, arguments) in pairs.items():
            load = os.getloadavg()[0]
            ours()  # llama-bench warms itself up
            turns = in_turn(ours, partial(theirs, *arguments), repeats)
            rows.append(Row(name, what, count, **asdict(turns), load=load))
            print(f"{what} {name}: {rows[-1].ratio:.3f}", file=sys.stderr, flush=True)
    return rows


def _decode(loaded: LoadedModel, tokens: int) -> float:
    """The gaps between tokens, greedy: what a comparison calls the decode speed."""
    return sum(_timed(loaded, BEFORE, tokens + 1)[1:])


def _prefill(loaded: LoadedModel) -> float:
    """The time to the first token, in a session of its own."""
    return _timed(loaded, PROMPT, 1)[0]


def _timed(loaded: LoadedModel, prompt: int, new_tokens: int) -> list[float]:
    """Seconds of each new token after a prompt of that many."""
    watch = Stopwatch(lambda: None)
    steps = decode(loaded.start(prompt + new_tokens), _ids(loaded, prompt), new_tokens, sampler(Settings()))
    for _ in watch.watch(steps):
        pass
    return watch.seconds


def _ids(loaded: LoadedModel, count: int) -> list[int]:
    """Any tokens: llama-bench draws them too."""
    return torch.randint(loaded.vocabulary_size, (count,), generator=torch.Generator().manual_seed(0)).tolist()


def _bench(file: Path, *arguments: object) -> float:
    alike = ("-b", PROMPT, "-ub", PROMPT, *files.alike())
    return seconds(programs.run("llama-bench", "-m", file, "-o", "json", "-r", 1, *alike, *arguments))
