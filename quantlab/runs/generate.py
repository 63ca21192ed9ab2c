"""One variant and one prompt, in three stages: get it ready, let it answer, read the reference's answer with it."""

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quantlab.errors import ModelError
from quantlab.fidelity.divergence import TopTokens, nonfinite, top_tokens
from quantlab.measure.cpu import CpuClock, computing
from quantlab.measure.machine import read_bandwidth
from quantlab.measure.memory import PeakMemory
from quantlab.measure.statistics import median
from quantlab.measure.timing import Stopwatch
from quantlab.models.tokenizer import load_tokenizer, token_texts
from quantlab.records import CpuUse, Load, Model, Peak, Settings, Timing, units
from quantlab.records.events import Token
from quantlab.runtime.decode import decode
from quantlab.runtime.placement import canonical
from quantlab.runtime.sampling import sampler
from quantlab.runtime.session import LoadedModel
from quantlab.runtime.variant_cache import Lease

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


#: Letters, digits, signs, spaces and other scripts, which tokenizers part in different ways.
PROBE = ' The year 2024, 3.14 and 100 %:\n\tit\'s über-naïve — "Größe" 東京 Привет 🙂 x_1 += y[0];'


@dataclass(frozen=True)
class PromptInput:
    """What every variant is asked: the same token ids, tokenizer, end-of-text ids and settings."""

    prompt_ids: tuple[int, ...]
    tokenizer: "PreTrainedTokenizerBase"
    eos_ids: frozenset[int]
    settings: Settings

    @property
    def capacity(self) -> int:
        """Tokens that a session holds at most."""
        return len(self.prompt_ids) + self.settings.max_new_tokens


@dataclass(frozen=True)
class Ready:
    """A variant loaded and warmed up. `warmup_ttft_s` is the time of its first pass.

    `devices` are the bytes on each device of its map while it runs; empty where its back end does not tell.
    """

    precision: str
    loaded: LoadedModel
    load: Load
    warmup_ttft_s: float
    devices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    """Everything the decode loop gave. `computed_ids` go on past end-of-text, `token_ids` end with it.

    `cpu` is the processor meanwhile.
    """

    computed_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    tops: tuple[TopTokens, ...]
    timing: Timing | None
    peak: Peak
    kv_cache_bytes: int
    bandwidth_share: float | None
    nonfinite: int
    stopped: bool
    cpu: CpuUse


def warm_up(
    precision: str, lease: Lease, loaded: LoadedModel, prompt_input: PromptInput, notes: tuple[str, ...] = ()
) -> Ready:
    """One pass over the prompt and up to two tokens that count for nothing: kernels repack and caches fill.

    `loaded` is what was leased, its keys and values in the type that was asked for.
    """
    session = loaded.start(prompt_input.capacity)
    begun = time.perf_counter()
    token = int(session.forward(prompt_input.prompt_ids).argmax())
    warmup_ttft_s = time.perf_counter() - begun
    for _ in range(min(2, prompt_input.settings.max_new_tokens - 1)):
        token = int(session.forward([token]).argmax())
    stored, facts = lease.stored, loaded.facts
    now = loaded.storage()
    load = Load(
        load_s=lease.load_s,
        load_origin=lease.origin,
        stored_bytes=stored.total,
        running_bytes=now.total,
        mapped_bytes=now.mapped,
        parts=stored.parts,
        bits_per_weight=stored.bits_per_weight,
        bits_per_quantized_weight=stored.bits_per_quantized_weight,
        compute_dtype=facts.compute_dtype,
        kernel=facts.kernel,
        device_map=facts.device_map,
        notes=facts.notes + notes + _repacking_note(stored.total, now.total),
        build_s=lease.build_s,
        details=facts.details,
    )
    places = {canonical(place) for place in facts.device_map.values()}
    # What a library keeps on the CPU beside a variant on a GPU is no part of a split.
    devices = {name: nbytes for name, nbytes in now.devices.items() if name in places}
    return Ready(precision, loaded, load, warmup_ttft_s, devices)


def _repacking_note(stored: int, running: int) -> tuple[str, ...]:
    before, after = units.size(stored), units.size(running)
    # Figures that look alike would tell of nothing; the exact ones are in the record.
    return () if before == after else (f"After the first run the library repacked the weights: {before} -> {after}",)


def check_tokenizer(model: Model, prompt_input: PromptInput, loaded: LoadedModel | None = None) -> None:
    """Raises ModelError where the ids of another model, `loaded` or only on disk, stand for other texts.

    Both tokenizers read the prompt and a text of many kinds of characters.
    """
    text = prompt_input.tokenizer.decode(prompt_input.prompt_ids) + PROBE
    ours = tuple(prompt_input.tokenizer.encode(text, add_special_tokens=False))
    theirs = None if loaded is None else loaded.tokenize(text)
    if theirs is None:
        theirs = tuple(load_tokenizer(model).encode(text, add_special_tokens=False))
    if ours != theirs:
        first = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), 0)
        raise ModelError(
            f"The tokenizer of {model.name} is another one: a text of {len(ours)} tokens is {len(theirs)} to it, "
            f"and they part at token {first}.",
            "Compare it with the model that it was made of: answers in other tokens cannot be set side by side.",
        )


def tokenizer_notes(model: Model, loaded: LoadedModel, prompt_input: PromptInput) -> tuple[str, ...]:
    """What is worth a note: ids that are only reserved (a padded vocabulary). Raises as `check_tokenizer`."""
    check_tokenizer(model, prompt_input, loaded)
    size = len(prompt_input.tokenizer)
    if loaded.vocabulary_size == size:
        return ()
    more = "the rest is unused" if size < loaded.vocabulary_size else "it can neither read nor say the last of them"
    return (f"its vocabulary has {loaded.vocabulary_size:,} entries, the tokenizer {size:,}: {more}",)


def generate(
    ready: Ready, prompt_input: PromptInput, device: str, stop: threading.Event
) -> Generator[Token, None, Generation]:
    """Let the variant answer. Yields a `Token` each; returns the answer, partial where `stop` was set."""
    from quantlab.runtime.torch_session import synchronize

    watch = Stopwatch(lambda: synchronize(device))
    ids: list[int] = []
    tops: list[TopTokens] = []
    bad, end, text = 0, None, ""
    by_torch = ready.loaded.network is not None
    elsewhere = ready.devices if ready.devices.keys() != {device} else None
    with PeakMemory(device, ready.load.running_bytes, elsewhere, by_torch) as peak:
        # Inside: a back end that reserves its keys and values does so here.
        session = ready.loaded.start(prompt_input.capacity)
        steps = decode(
            session, prompt_input.prompt_ids, prompt_input.settings.max_new_tokens, sampler(prompt_input.settings)
        )
        clock = CpuClock(computing(device))
        for step in watch.watch(steps):
            ids.append(step.token_id)
            tops.append(top_tokens(step.logits, step.token_id))
            bad += nonfinite(step.logits)
            if end is None:
                text = prompt_input.tokenizer.decode(ids, skip_special_tokens=True)
                end = len(ids) if step.token_id in prompt_input.eos_ids else None
            yield Token(ready.precision, len(ids) - 1, step.token_id, text)
            if stop.is_set():
                break
        used, result = clock.use(), peak.result()
    timing = watch.timing(len(prompt_input.prompt_ids), ready.warmup_ttft_s) if ids else None
    kv_bytes = session.kv_cache_bytes()
    return Generation(
        computed_ids=tuple(ids),
        token_ids=tuple(ids[:end]),
        text=text,
        tops=tuple(tops),
        timing=timing,
        peak=result,
        kv_cache_bytes=kv_bytes,
        bandwidth_share=_bandwidth_share(ready.load, timing, kv_bytes, device),
        nonfinite=bad,
        stopped=len(ids) < prompt_input.settings.max_new_tokens,
        cpu=used,
    )


def _bandwidth_share(load: Load, timing: Timing | None, kv_bytes: int, device: str) -> float | None:
    """Bytes that must be read per decoded token, over the median gap, over what the memory can deliver.

    Of an embedding table one row is read, unless it serves as the output head too. The keys and values grow over
    the run, so their mean counts. None without gaps, or where layers lie on several devices.
    """
    if timing is None or not timing.itl_s or len(set(load.device_map.values())) > 1:
        return None
    untied = load.parts["output_head"] > 0
    weights = load.running_bytes - (load.parts["embeddings"] if untied else 0)
    new = len(timing.itl_s)
    mean_kv = kv_bytes * (timing.prompt_tokens + (new + 1) / 2) / (timing.prompt_tokens + new)
    gap, bandwidth = median(timing.itl_s), read_bandwidth(device)
    return (weights + mean_kv) / gap / bandwidth if gap and bandwidth else None


def texts_of(tokenizer: "PreTrainedTokenizerBase", tops: Sequence[TopTokens]) -> dict[int, str]:
    """The text of every token in these tables, each by itself."""
    ids = {token_id for top in tops for token_id in top.token_ids}
    return {token_id: text_of(tokenizer, token_id) for token_id in ids}


def text_of(tokenizer: "PreTrainedTokenizerBase", token_id: int) -> str:
    """The text of one token by itself."""
    # A piece of a character has no text of its own, and an id past the tokenizer's vocabulary has no name either.
    text = token_texts(tokenizer, [token_id])[0]
    return text or tokenizer.convert_ids_to_tokens(token_id) or f"[{token_id}]"
