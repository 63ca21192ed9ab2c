"""Records of any content, drawn by hypothesis from the records' own types; and an example of a quality run."""

import itertools
import math
import statistics
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from quantlab.records import (
    Bucket,
    Comparison,
    Fidelity,
    LayerError,
    Load,
    Machine,
    Model,
    Perplexity,
    Quality,
    QualityRun,
    QualitySettings,
    Run,
    Spread,
    TaskScore,
    TextFacts,
    Timing,
)
from tests.examples import BITS, example_load

#: Also control characters and what other formats take for markup.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ("\0\n\r\t", "</script><b>", "=1+1", "a|b", "null", "x" * 300)
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = {
    str: TEXTS,
    int: st.integers(0, 2**63 - 1),
    float: FINITE,
    bool: st.booleans(),
    Path: st.just(Path("calibration.txt")),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Any: st.none(),
}
TIMES = st.floats(1e-9, 1e6)


def drawn(kind: Any) -> st.SearchStrategy:
    """Values of a type: a record, or what a record's field may be. Floats are finite."""
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        own = _OWN.get(kind, {})
        return st.builds(
            _MADE.get(kind, kind),
            **{it.name: own[it.name] if it.name in own else drawn(hints[it.name]) for it in fields(kind)},
        )
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return st.from_type(kind).filter(math.isfinite)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(drawn, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(drawn(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(drawn, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(TEXTS, drawn(arguments[1]), max_size=2)
    return st.none() if kind is type(None) else PLAIN[kind]


#: What the types do not say: an exported model lies nowhere, times are above zero.
_OWN: dict[type, dict[str, st.SearchStrategy]] = {
    Model: {
        "folder": st.none(),
        "gguf": st.none(),
        "origin": st.none(),
        "identity": st.just(""),
        "kind": st.sampled_from(("demo", "hub", "shape")),
    },
    Timing: {"ttft_s": TIMES, "itl_s": st.lists(TIMES, max_size=3).map(tuple)},
}


def _ordered(mean: float, se: float, **quantiles: float) -> Spread:
    ordered = sorted(quantiles.values())
    return Spread(min(mean, ordered[-1]), se, *ordered)


#: What makes a record from fields that were drawn each for itself.
_MADE: dict[type, Any] = {Spread: _ordered}


def _possible(record: Comparison | Quality) -> Comparison | Quality:
    """No precision twice, the reference one of them, and no figure that contradicts another."""
    kept = {run.precision: run for run in record.runs}
    runs = [replace(run, load=run.load and _adding_up(run.load)) for run in kept.values()]
    if isinstance(record, Comparison):
        runs = [_beginning_with_the_shown(run) for run in runs]
        return replace(record, runs=tuple(runs), reference=runs[0].precision)
    scored = record.text.scored % 10_000
    windows = max([1, *(len(run.fidelity.window_kld) for run in runs if run.fidelity)])
    text = replace(record.text, scored=scored, windows=windows, window_tokens=scored, tokens=windows * scored)
    runs = [_consistent(run, text) for run in runs]
    if (found := runs[0].fidelity) is not None:
        runs[0] = replace(runs[0], fidelity=replace(found, ppl=replace(found.ppl, value=2.0, ratio=1.0)))
    return replace(record, runs=tuple(runs), reference=runs[0].precision, text=text)


def _beginning_with_the_shown(run: Run) -> Run:
    timing = run.timing
    speed = timing and timing.decode_tokens_per_s
    return replace(
        run,
        ttft_samples=(timing.ttft_s, *run.ttft_samples) if timing else (),
        decode_samples=(speed, *run.decode_samples) if speed else (),
    )


def _adding_up(load: Load) -> Load:
    parts = {name: nbytes % 10**9 for name, nbytes in load.parts.items()}
    return replace(load, parts=parts, stored_bytes=sum(parts.values()))


def _consistent(run: QualityRun, text: TextFacts) -> QualityRun:
    middle = statistics.median(run.decode_samples) if run.decode_samples else run.decode_tokens_per_s
    run = replace(
        run,
        decode_tokens_per_s=middle,
        tasks={name: replace(score, items=len(score.correct)) for name, score in run.tasks.items()},
    )
    found = run.fidelity
    if found is None:
        return run
    excluded, value = min(found.excluded, text.scored), 2.0 + found.ppl.value % 100
    found = replace(
        found,
        tokens=text.scored - excluded,
        excluded=excluded,
        window_kld=(*found.window_kld, *[None] * (text.windows - len(found.window_kld))),
        # As if the reference's were 2.
        ppl=replace(found.ppl, value=value, ratio=value / 2),
    )
    return replace(run, fidelity=found)


def _whole(kind: type) -> st.SearchStrategy:
    return drawn(kind).filter(lambda record: record.runs).map(_possible)


COMPARISONS, QUALITIES = _whole(Comparison), _whole(Quality)


def example_fidelity(kld: float) -> Fidelity:
    """Figures that follow from the mean KLD by fixed factors."""
    spread = Spread(kld, kld / 40, kld / 3, 2.5 * kld, 9 * kld, 30 * kld, 55 * kld)
    edges = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    buckets = tuple(
        Bucket(low, high, 200, kld * (2 - high), 1 - kld * (1.2 - low) if low else None)
        for low, high in itertools.pairwise(edges)
    )
    ratio = 1 + kld / 2
    return Fidelity(
        tokens=1_000,
        kld=spread,
        kld_reverse=replace(spread, mean=1.1 * kld),
        buckets=buckets,
        same_top=1 - kld,
        same_top_se=0.01,
        delta_p_mean=-kld,
        delta_p_rms=4 * kld,
        ppl=Perplexity(3.5 * ratio, 0.1, ratio, kld / 10),
        window_kld=(kld, 1.5 * kld, None, 0.8 * kld),
    )


def example_score(precision: str, right: float, itself: bool) -> TaskScore:
    answers = tuple(i < 50 * right for i in range(50))
    paired = {} if itself else {"flips_lost": 0.06, "flips_won": 0.02, "mcnemar_p": 0.625}
    return TaskScore(50, right, 0.06, right, 0.06, correct=answers, **paired)


def example_quality(precisions: tuple[str, ...] = ("fp32", "int8", "nf4", "rtn-2"), failed: str = "") -> Quality:
    """The first of `precisions` is the reference. `failed` names one that ran out of memory."""
    runs = []
    for precision in precisions:
        bits, itself = BITS[precision], precision == precisions[0]
        kld = 0.0 if itself else 4.0 ** (2 - bits) + 1e-5
        if precision == failed:
            runs.append(QualityRun(precision, "Out of memory <b>", "Choose fewer bits."))
            continue
        places = () if itself else itertools.product(range(3), ("self_attn.q_proj", "mlp.up_proj"))
        layers = tuple(LayerError(at, name, kld * (at + 1), 1 - kld / 9, kld) for at, name in places)
        runs.append(
            QualityRun(
                precision,
                load=example_load(precision),
                decode_tokens_per_s=400 / bits,
                score_tokens_per_s=9_000.0,
                decode_samples=(390 / bits, 400 / bits, 420 / bits),
                fidelity=example_fidelity(kld),
                tasks={"demo_facts": example_score(precision, 0.8 - min(kld, 0.5), itself)},
                layers=layers,
                notes=("note of the run",),
            )
        )
    return Quality(
        model=Model("demo", "demo", None),
        reference=precisions[0],
        text=TextFacts("held-out text of the demo world", "ab" * 32, 2_048, 1_000, 4, 512),
        settings=QualitySettings(tasks=("demo_facts",)),
        machine=Machine("Example CPU", 2, 8_000_000_000, "cpu", 8_000_000_000, "Linux", 20e9),
        versions={"torch": "2.13.0"},
        noise_floor=example_fidelity(1e-4),
        floor="bf16 beside fp32: the same weights, rounded otherwise",
        runs=tuple(runs),
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
