"""Decode speed: our loop beside transformers' own `generate`, on the very same loaded weights."""

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from quantlab import models
from quantlab.engine.decode import decode
from quantlab.engine.sampling import sampler
from quantlab.methods import METHODS, method_of, precision
from quantlab.records import Placement, Settings, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.torch_session import TorchModel, synchronize
from quantlab.settings import app_settings

PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Row:
    """Medians of seconds for the same prompt and number of new tokens; `ratio` is theirs over ours, above 1 is faster.

    `ratio_low` and `ratio_high` are the quartiles of the ratios of neighbouring runs.
    """

    model: str
    precision: str
    ours_s: float
    generate_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    tokens_per_s: float
    same_tokens: bool


def measure(name: str, precisions: Sequence[str] | None, device: str, repeats: int, tokens: int) -> list[Row]:
    """One row for each precision that runs on the device."""
    model, placement = models.resolve(name, app_settings()), resolve(Placement(device))
    rows = []
    for chosen in map(precision, precisions or _runnable(device)):
        loaded = method_of(chosen).load(model, chosen, placement, silent)
        rows.append(_row(name, chosen.name, loaded, device, repeats, tokens))
        loaded.close()
        print(f"{name} {chosen.name}: {rows[-1].ratio:.3f}", file=sys.stderr, flush=True)
    return rows


def _runnable(device: str) -> list[str]:
    methods = (method for method in METHODS.values() if not method.unavailable(device))
    return [p.name for method in methods for p in method.precisions if not p.name.endswith("-sym")]


def _row(name: str, chosen: str, loaded: TorchModel, device: str, repeats: int, tokens: int) -> Row:
    prompt = list(range(10, 10 + PROMPT_TOKENS))

    def ours() -> list[int]:
        return [step.token_id for step in decode(loaded.start(), prompt, tokens, sampler(Settings()))]

    theirs = _generate(loaded.module, prompt, tokens, device)
    same = ours() == theirs()  # the warm-up of both
    pairs = []
    for repeat in range(repeats):
        # Each goes first in turn, so that neither always meets the other's warm caches.
        order = (ours, theirs) if repeat % 2 else (theirs, ours)
        seconds = {work: _seconds(work, device) for work in order}
        pairs.append((seconds[ours], seconds[theirs]))
    our_median, their_median = (median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(b / a for a, b in pairs)
    quarter = len(ratios) // 4
    return Row(
        model=name,
        precision=chosen,
        ours_s=our_median,
        generate_s=their_median,
        ratio=median(ratios),
        ratio_low=ratios[quarter],
        ratio_high=ratios[-1 - quarter],
        tokens_per_s=tokens / our_median,
        same_tokens=same,
    )


def _generate(network: torch.nn.Module, prompt: list[int], tokens: int, device: str) -> Callable[[], list[int]]:
    config = copy.deepcopy(network.generation_config)
    config.update(do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    # End-of-text must not end one of the two; transformers would fill a None in from the model's own.
    network.generation_config.eos_token_id = config.eos_token_id = None
    ids = torch.tensor([prompt], device=device)
    mask = torch.ones_like(ids)

    def work() -> list[int]:
        out = network.generate(ids, attention_mask=mask, generation_config=config)
        return out[0, len(prompt) :].tolist()

    return work


def _seconds(work: Callable[[], object], device: str) -> float:
    synchronize(device)
    begun = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begun
