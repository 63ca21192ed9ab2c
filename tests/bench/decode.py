"""Decode speed: our loop beside the library's own (transformers' or llama-cpp-python's), on the same weights."""

import copy
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from quantlab import models
from quantlab.checkpoints.load import GGUF_NAME, checkpoint_store, load_variant
from quantlab.methods import METHODS, method_of, precision, variant_of
from quantlab.records import Calibration, Placement, ResolvedPlacement, Settings, Variant, silent
from quantlab.runtime.decode import decode
from quantlab.runtime.placement import resolve
from quantlab.runtime.sampling import sampler
from quantlab.runtime.session import LoadedModel
from quantlab.runtime.torch_session import TorchModel, synchronize
from quantlab.settings import app_settings
from tests.bench.turns import in_turn

PROMPT = list(range(10, 26))
Work = Callable[[], Iterator[int]]
#: A token of llama.cpp takes a fraction of one in torch: more of them, for a time that can be measured.
GGUF_TIMES = 4


@dataclass(frozen=True)
class Row:
    """Medians of seconds for the same prompt and number of new tokens; `ratio` is theirs over ours, above 1 is faster.

    `ratio_low` and `ratio_high` are the quartiles of the ratios of neighbouring runs.
    """

    model: str
    precision: str
    ours_s: float
    other_s: float
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
        variant = variant_of(model, chosen, placement, Calibration())
        method = method_of(chosen)
        if method.refuses(chosen, models.checkpoint(model), placement.device):
            continue
        if name != "demo" and method.calibrated(chosen):  # minutes to hours to make, and the loop is the same
            continue
        loaded = load_variant(variant, silent).loaded
        new = tokens if isinstance(loaded, TorchModel) else GGUF_TIMES * tokens
        rows.append(_row(name, chosen.name, loaded, _other_loop(variant, loaded, new), repeats, new))
        loaded.close()
        print(f"{name} {chosen.name}: {rows[-1].ratio:.3f}", file=sys.stderr, flush=True)
    return rows


def _runnable(device: str) -> list[str]:
    methods = (method for method in METHODS.values() if not method.unavailable(device))
    return [p.name for method in methods for p in method.precisions if not p.name.endswith("-sym")]


def _other_loop(variant: Variant, loaded: LoadedModel, tokens: int) -> Work:
    """The loop that the variant's own library has; it computes `tokens` new tokens."""
    device = variant.placement.device
    if isinstance(loaded, TorchModel):
        return _generate(loaded.module, PROMPT, tokens, device)
    return _llama_cpp(checkpoint_store().get(variant, silent).folder / GGUF_NAME, variant.placement, tokens)


def _row(name: str, chosen: str, loaded: LoadedModel, theirs: Work, repeats: int, tokens: int) -> Row:
    device = next(iter(loaded.facts.device_map.values()))
    # llama.cpp's own loop keeps its context from run to run and ours makes one: what a new one costs its first pass is
    # no matter of decoding. `generate` gives all tokens at once, so there the prefill is in both.
    untimed = 0 if isinstance(loaded, TorchModel) else 1

    def ours() -> Iterator[int]:
        steps = decode(loaded.start(len(PROMPT) + tokens), PROMPT, tokens, sampler(Settings()))
        return (step.token_id for step in steps)

    same = list(ours()) == list(theirs())  # the warm-up of both
    turns = in_turn(lambda: _seconds(ours(), untimed, device), lambda: _seconds(theirs(), untimed, device), repeats)
    return Row(
        model=name,
        precision=chosen,
        **asdict(turns),
        tokens_per_s=(tokens - untimed) / turns.ours_s,
        same_tokens=same,
    )


def _generate(network: torch.nn.Module, prompt: list[int], tokens: int, device: str) -> Work:
    config = copy.deepcopy(network.generation_config)
    config.update(do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    # End-of-text must not end one of the two; transformers would fill a None in from the model's own.
    network.generation_config.eos_token_id = config.eos_token_id = None
    ids = torch.tensor([prompt], device=device)
    mask = torch.ones_like(ids)

    def work() -> Iterator[int]:
        out = network.generate(ids, attention_mask=mask, generation_config=config)
        yield from out[0, len(prompt) :].tolist()

    return work


def _llama_cpp(file: Path, placement: ResolvedPlacement, tokens: int) -> Work:
    """llama-cpp-python's `Llama.generate`, greedy, with a context, threads and cache type like ours."""
    import llama_cpp

    from quantlab.methods.gguf.library import quiet

    quiet()
    cache = llama_cpp.GGML_TYPE_F32 if placement.compute_dtype == "float32" else llama_cpp.GGML_TYPE_F16
    threads = torch.get_num_threads()
    model = llama_cpp.Llama(
        str(file), n_ctx=len(PROMPT) + tokens, n_threads=threads, n_threads_batch=threads, type_k=cache, type_v=cache,
        n_gpu_layers=0 if placement.device == "cpu" else -1, verbose=False,
    )  # fmt: skip

    def work() -> Iterator[int]:
        model.reset()  # else it would find the prompt in its cache and skip it
        return itertools.islice(model.generate(PROMPT, temp=0.0, repeat_penalty=1.0), tokens)

    return work


def _seconds(tokens: Iterator[int], untimed: int, device: str) -> float:
    """The time of all tokens but the first `untimed`."""
    for _ in range(untimed):
        next(tokens)
    synchronize(device)
    begun = time.perf_counter()
    for _ in tokens:
        pass
    synchronize(device)
    return time.perf_counter() - begun
