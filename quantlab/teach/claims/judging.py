"""What the rules share: a judgement, and the sentences of what is missing."""

from collections.abc import Callable
from dataclasses import dataclass

from quantlab.measure import trust
from quantlab.records import QualityRun
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Figure, Outcome
from quantlab.teach.claims.evidence import Evidence


@dataclass(frozen=True)
class Judgement:
    outcome: Outcome
    why: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Claim:
    """`needs` names what must be found out for it: `plans`, `quality`, `first`, `codes`, `trials`."""

    number: int
    text: str
    tested_by: str
    needs: tuple[str, ...]
    judge: Callable[[Evidence], Judgement]


def decided(holds: bool, why: str, *figures: Figure) -> Judgement:
    return Judgement(HOLDS if holds else FAILS, why, figures)


def untested(why: str, *figures: Figure) -> Judgement:
    first = why.split(" ", 1)[0]
    # A precision's name stays as it is written, and each has a digit.
    begun = why if any(it.isdigit() for it in first) else f"{why[:1].upper()}{why[1:]}"
    return Judgement(UNTESTED, f"{begun.rstrip('.')}.", figures)


def stored(run: QualityRun) -> int:
    """Bytes right after the load. Only for runs that loaded."""
    if run.load is None:
        raise ValueError(f"{run.precision} was not loaded")
    return run.load.stored_bytes


def near(value: float, claimed: float, share: float = 0.1) -> bool:
    """Whether a figure is the claimed one within a share of it; the claims are given to two digits."""
    return abs(value - claimed) <= share * claimed


def nbytes(name: str, value: int, measured: bool = True) -> Figure:
    return Figure(name, value, "bytes", measured)


def speed_doubt(*runs: QualityRun) -> str:
    """Why speeds cannot be held against each other; empty where they can (`measure.trust`)."""
    for run in runs:
        if not run.decode_tokens_per_s:
            return f"{run.precision} has no speed"
        if why := trust.doubt(run):
            return f"{run.precision}: {why}"
    return ""


def speeds(*runs: QualityRun) -> tuple[Figure, ...]:
    return tuple(Figure(f"{run.precision} decode speed", run.decode_tokens_per_s or 0.0, "tok/s") for run in runs)
