"""Made-up qualities for tests of what shows them. Every figure follows by formula from a precision's bits."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quantlab.records import (
    CONFIDENCE,
    Bucket,
    Fidelity,
    LayerError,
    Machine,
    Model,
    Perplexity,
    Quality,
    QualityRun,
    QualitySettings,
    Spread,
    TaskScore,
    TextFacts,
)
from tests.examples import BITS, ERRORS, QUIET, example_load

DEFAULT = ("fp32", "bf16", "int8", "nf4", "nf4-dq", "rtn-2")
FAILED = {"int8": ERRORS["int8"]}
TASKS = ("demo_facts", "demo_sums")
ITEMS = 500
MODULES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", "layer")
_TEXT = TextFacts("held-out stories", "ab" * 32, 8_400, 16 * 255, 16, 512)
_BUCKETS = (0.05, 0.1, 0.15, 0.25, 0.45)


def mean_kld(precision: str) -> float:
    """Nats: fourfold with each bit less, 1e-4 at bf16, about 0.05 at 4.5 bits."""
    return 25.0 * 4.0 ** -BITS[precision] if BITS[precision] < 16 else 1e-4


def fidelity(mean: float, windows: int = _TEXT.windows, spread: float = 0.2) -> Fidelity:
    """Fidelity of that mean KLD, exactly the mean of its windows, which differ from it by about a share of `spread`."""
    waves = [math.sin(1.3 * i) for i in range(windows)]
    middle = sum(waves) / windows
    by_window = tuple(mean * (1 + spread * (wave - middle)) for wave in waves)
    tokens = windows * 255
    kld = Spread(mean, mean * 0.03, mean * 0.2, mean * 2, mean * 9, mean * 30, mean * 80)
    low, buckets = 0.0, []
    for high, share in zip(CONFIDENCE, _BUCKETS, strict=True):
        found = mean * 2 * (1.1 - high)
        buckets.append(Bucket(low, high, round(tokens * share), found, 1 / (1 + found)))
        low = high
    same = 1 / (1 + mean)
    return Fidelity(
        tokens=tokens,
        kld=kld,
        kld_reverse=replace(kld, mean=mean * 1.1),
        buckets=tuple(buckets),
        same_top=same,
        same_top_se=math.sqrt(same * (1 - same) / tokens),
        delta_p_mean=-10 * mean,
        delta_p_rms=100 * math.sqrt(mean / 2),
        ppl=Perplexity(5.2 * math.exp(mean), 0.11, math.exp(mean), 0.002),
        window_kld=by_window,
    )


def layer_errors(precision: str, layers: int = 3) -> tuple[LayerError, ...]:
    """Halved with each bit more; what comes in adds up from layer to layer."""
    own = 2.0 ** -min(BITS[precision], 16)
    return tuple(
        LayerError(i, module, own * (1 + i), 1 - (own * (1 + i)) ** 2 / 2, own * (1 + 0.2 * place))
        for i in range(layers)
        for place, module in enumerate(MODULES)
    )


def task_score(precision: str, reference: str) -> TaskScore:
    """0.9 for the reference; every fifth of what is lost is won elsewhere."""
    lost = 0.0 if precision == reference else round(ITEMS * min(0.4, mean_kld(precision))) / ITEMS
    won = round(ITEMS * lost / 5) / ITEMS
    acc = 0.9 - lost + won
    error = math.sqrt(acc * (1 - acc) / ITEMS)
    plain = TaskScore(ITEMS, acc, error, acc - 0.02, error)
    if precision == reference:
        return plain
    return replace(plain, flips_lost=lost, flips_won=won, mcnemar_p=math.exp(-ITEMS * (lost - won) / 5))


def quality_run(precision: str, reference: str) -> QualityRun:
    """A complete run. The reference's divergence from itself is zero and it has no errors by layer."""
    own = precision == reference
    speed = 400 - 6 * BITS[precision] if precision != "rtn-2" else 90.0
    return QualityRun(
        precision,
        load=example_load(precision),
        decode_tokens_per_s=speed,
        decode_samples=(0.99 * speed, speed, 1.01 * speed),
        cpu=QUIET,
        score_tokens_per_s=9_000.0,
        fidelity=fidelity(0.0 if own else mean_kld(precision)),
        tasks={task: task_score(precision, reference) for task in TASKS},
        layers=() if own else layer_errors(precision),
    )


def quality(
    precisions: tuple[str, ...] = DEFAULT,
    errors: Mapping[str, tuple[str, str]] = FAILED,
    stopped: str | None = None,
    floor: bool = True,
    runs: Mapping[str, Mapping[str, object]] | None = None,
) -> Quality:
    """`precisions` in their order, the first the reference. `errors` maps the failed ones to message and advice.

    `stopped` names one that ended before its text was read. `runs` changes fields of runs, by precision. The noise
    floor is that of bf16, or there is none.
    """
    found = []
    for precision in precisions:
        run = quality_run(precision, precisions[0])
        if precision in errors:
            run = QualityRun(precision, error=errors[precision][0], advice=errors[precision][1])
        elif precision == stopped:
            run = replace(run, fidelity=None, tasks={}, layers=(), stopped=True)
        found.append(replace(run, **(runs or {}).get(precision, {})))
    words = "bf16 beside fp32: the same weights, rounded otherwise"
    return Quality(
        model=Model("demo", "demo", Path("assets/demo-model")),
        reference=precisions[0],
        text=_TEXT,
        settings=QualitySettings(windows=16, tasks=TASKS),
        machine=Machine("Example CPU", 2, 8_000_000_000, "cpu", 8_000_000_000, "Linux", 20e9),
        versions={"torch": "2.13.0", "transformers": "5.23.0"},
        noise_floor=fidelity(mean_kld("bf16")) if floor else None,
        floor=words if floor else f"there is none: {precisions[0]} has no second rounding of the same weights",
        runs=tuple(found),
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
