"""Realistic records for tests of what shows them. Every figure follows by formula from a precision's bits."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from quantlab.records import (
    Candidate,
    Comparison,
    CpuUse,
    Divergence,
    Load,
    Machine,
    Model,
    Peak,
    Run,
    Settings,
    Timing,
    TokenDifference,
)

#: Bits stored for one weight of a quantized layer.
BITS = {
    "fp32": 32.0, "fp16": 16.0, "bf16": 16.0, "int8": 8.06, "int8-plain": 8.05, "rtn-8": 8.5, "nf4": 4.5,
    "nf4-dq": 4.13, "fp4": 4.6, "fp4-dq": 4.2, "rtn-4": 4.4, "rtn-3": 3.5, "rtn-2": 2.5,
}  # fmt: skip
DEFAULT = ("fp32", "bf16", "int8", "nf4", "fp4", "rtn-2")
ERRORS = {"int8": ("This precision needs 9.8 GB and 6.1 GB are free.", "Choose one with fewer bits.")}

# Weights of a Llama with hidden size 256, 3 layers, an MLP of 512 and 2,048 tokens, embeddings not tied.
_PLAIN = {"embeddings": 524_288, "norms": 1_792, "output_head": 524_288}
_QUANTIZED = {"attention": 786_432, "mlp": 1_179_648}
_WEIGHTS = sum(_PLAIN.values()) + sum(_QUANTIZED.values())
_ANSWER = (
    *("Once", "upon", "a", "time", "Mira", "lived", "in", "a", "small", "house", "by", "the", "sea", "."),
    *("She", "had", "a", "red", "boat", "and", "a", "<", "b", ">", "dog", ".", "\n", "The", "end", "."),
)


def tokens(count: int) -> tuple[str, ...]:
    """An answer's tokens, with the spaces before words that a byte-level tokenizer leaves there."""
    words = (_ANSWER[i % len(_ANSWER)] for i in range(count))
    return tuple(word if i == 0 or word in ".\n" else f" {word}" for i, word in enumerate(words))


def example_load(precision: str) -> Load:
    """4-bit and smaller ones keep a sixteenth of their bits more for scales, as the part `quantization`."""
    bits = BITS[precision]
    whole = 2 ** math.floor(math.log2(bits))
    plain = {part: n * (4 if bits > 16 else 2) for part, n in _PLAIN.items()}
    packed = {part: n * whole // 8 for part, n in _QUANTIZED.items()}
    overhead = round(sum(_QUANTIZED.values()) * (bits - whole) / 8)
    parts = plain | packed | {"quantization": overhead, "other": 0}
    stored = sum(parts.values())
    repacked = overhead // 2 if precision in ("nf4", "fp4") else 0
    return Load(
        load_s=bits / 40,
        load_origin="built" if bits > 8 else "disk",
        stored_bytes=stored,
        running_bytes=stored - repacked,
        parts=parts,
        bits_per_weight=8 * stored / _WEIGHTS,
        bits_per_quantized_weight=None if bits >= 16 else bits,
        compute_dtype="float32" if bits > 16 else "bfloat16",
        kernel="matmul" if bits >= 16 else "dequantize, then matmul",
        device_map={"model": "cpu"},
        notes=("The kernel keeps its scales in bfloat16 while it runs.",) if repacked else (),
    )


#: Two cores that both worked for this process, and hardly for others.
QUIET = CpuUse(wall_s=1.5, own_s=2.9, others_s=0.04, cores=2, threads=2, load=1.1)


def example_timing(precision: str, count: int) -> Timing:
    """Gaps of 4 ms and more for each bit less, with a ripple, and one that is twice as long."""
    gap = 0.004 + 0.032 / BITS[precision]
    gaps = [gap * (1 + 0.15 * math.sin(1.7 * i)) for i in range(1, count)]
    if len(gaps) > 10:
        gaps[10] *= 2
    return Timing(warmup_ttft_s=9 * gap, ttft_s=3 * gap, itl_s=tuple(gaps), prompt_tokens=12)


def example_differences(precision: str, count: int) -> tuple[TokenDifference, ...]:
    """KLD grows fourfold with each bit less, and differs from token to token by up to a hundred times."""
    found = []
    for i, token in enumerate(tokens(count)):
        kld = 4.0 ** (2 - BITS[precision]) * 10 ** math.sin(2.3 * i)
        reference = 0.55 + 0.44 * math.cos(1.1 * i)
        own = reference * math.exp(-min(kld, 20.0) / 2)
        same = own > 0.9 * reference
        found.append(TokenDifference(token, own, reference, same, 1 if same else 2, kld))
    return tuple(found)


def _divergence(differences: tuple[TokenDifference, ...]) -> Divergence | None:
    for index, it in enumerate(differences):
        if not it.same_top:
            reference = Candidate(17, it.token, it.reference_probability)
            ours = Candidate(23, " other", 1 - it.probability)
            return Divergence(index, (ours, Candidate(17, it.token, it.probability)), (reference,))
    return None


def example_run(precision: str, reference: str, count: int, *, race: bool = False, cuda: bool = False) -> Run:
    """A complete run of `count` new tokens. The reference itself has no differences."""
    load = example_load(precision)
    timing = example_timing(precision, count)
    differences = () if precision == reference else example_differences(precision, count)
    answer = tokens(count)
    peak = load.stored_bytes * 5 // 4
    times = (1.0,) if race else (1.0, 1.01, 0.98)
    return Run(
        precision,
        text="".join(answer),
        token_ids=tuple(range(100, 100 + count)),
        tokens=answer,
        load=load,
        timing=timing,
        peak=Peak(None, peak, peak * 3 // 2, peak + 500_000_000) if cuda else Peak(resident=peak),
        kv_cache_bytes=3 * 2 * 256 * 4 * (11 + count),
        bandwidth_share=min(1.0, load.running_bytes / 0.01 / 20e9),
        first_divergence=_divergence(differences),
        differences=differences,
        timings_count=not race,
        ttft_samples=tuple(timing.ttft_s * each for each in times),
        decode_samples=tuple(timing.decode_tokens_per_s / each for each in times) if timing.itl_s else (),
        cpu=QUIET,
    )


def example_comparison(
    precisions: tuple[str, ...] = DEFAULT,
    errors: Mapping[str, tuple[str, str]] = ERRORS,
    stopped: str | None = "rtn-2",
    count: int = 48,
    race: bool = False,
    cuda: bool = False,
) -> Comparison:
    """`precisions` in their order, the first the reference. `errors` maps the failed ones to message and advice.

    `stopped` names the one that was stopped after a quarter of its `count` new tokens, before it could be compared.
    """
    runs = []
    for precision in precisions:
        if precision in errors:
            what, advice = errors[precision]
            runs.append(Run(precision, error=what, advice=advice, timings_count=not race))
        elif precision == stopped:
            partial = example_run(precision, precision, max(1, count // 4), race=race, cuda=cuda)
            runs.append(Run(**{**vars(partial), "stopped": True}))
        else:
            runs.append(example_run(precision, precisions[0], count, race=race, cuda=cuda))
    return Comparison(
        model=Model("demo", "demo", Path("assets/demo-model")),
        prompt="Once upon a time",
        prompt_token_ids=(1, 5, 6, 7, 8),
        prompt_tokens=("<s>", "Once", " upon", " a", " time"),
        reference=precisions[0],
        settings=Settings(max_new_tokens=count, race=race),
        machine=Machine("Example CPU", 2, 8_000_000_000, "cuda:0" if cuda else "cpu", 8_000_000_000, "Linux", 20e9),
        versions={"torch": "2.13.0", "transformers": "5.23.0"},
        runs=tuple(runs),
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
